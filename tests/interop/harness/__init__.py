"""Starts servers, runs the client programs against them, and counts what they report."""
