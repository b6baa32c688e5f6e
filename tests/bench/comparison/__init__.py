"""Starts servers, drives them with `zab bench`, and makes a table of it."""
