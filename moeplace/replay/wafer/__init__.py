"""The wafer as one GPU: expert weights move between dies, requests do not (arXiv 2510.05497)."""
