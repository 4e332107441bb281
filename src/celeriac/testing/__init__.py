"""What the project ships for tests of adapters and applications."""
