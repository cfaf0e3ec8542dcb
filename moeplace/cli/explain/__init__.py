"""Two plain sentences about a result: what limits it, and what is left to gain."""
