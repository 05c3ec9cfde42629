"""Episode Inversion and its curriculum: from teachers to pseudo images. Knows no learner."""
