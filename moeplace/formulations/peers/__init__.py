"""Published heuristics of others, written from their papers, to compare against.

Each optimizes the proxy of its paper (load, co-activation, de-duplicated tokens, recovery), not the
problem's objective; what had to be adapted is said in each module.
"""
