"""Executors: how the jobs of one child run."""
