"""What a broker and a store of one engine share: connections, key and table layout."""
