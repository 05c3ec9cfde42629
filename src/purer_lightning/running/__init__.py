"""What a run is on disk and under Slurm: its folder, its log, its checkpoints, how it goes on."""
