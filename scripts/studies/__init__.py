"""Studies: what is run and what is reported; streams of continual learning, one file each, and balancing."""
