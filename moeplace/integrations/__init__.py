"""Policies in the shape that serving engines call; none of the engines is imported before use."""
