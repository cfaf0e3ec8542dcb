"""Rebalancing policies, one a module; :mod:`moeplace.replay.registry` lists them."""
