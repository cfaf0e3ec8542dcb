"""Expert buffering: a rank holds some of its experts, the host the rest."""

from __future__ import annotations

from moeplace.replay.buffering.advise import Advice, advise
from moeplace.replay.buffering.host import HostLink, host_link, list_host_links
from moeplace.replay.buffering.policies import CACHE_POLICIES, CachePolicy, cache_policy
from moeplace.replay.buffering.requests import Requests, batch_requests
from moeplace.replay.buffering.simulate import Buffered, Times, layer_times, simulate
from moeplace.replay.buffering.static_memory import StaticMemory, static_memory

__all__ = [
    "CACHE_POLICIES",
    "Advice",
    "Buffered",
    "CachePolicy",
    "HostLink",
    "Requests",
    "StaticMemory",
    "Times",
    "advise",
    "batch_requests",
    "cache_policy",
    "host_link",
    "layer_times",
    "list_host_links",
    "simulate",
    "static_memory",
]
