"""One delivery in, one completion out; no broker, no threads."""
