"""From values to bytes and back, with limits."""
