"""What scripts/benchmark_training.py measures, one section a file."""
