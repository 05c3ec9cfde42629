"""How a run computes: ranks, threads, precision, memory. Knows nothing of the method."""
