#!/bin/bash
#SBATCH --partition=gpu
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=4 --gpus-per-node=4
#SBATCH --job-name=purer --output=%x-%j.out --open-mode=append
#SBATCH --requeue --signal=SIGUSR1@300
#
# Meta-training on a cluster with Slurm. Edit the first three lines: partition, nodes, GPUs a node (a task each).
#
#     sbatch experiments/machine/srun.sh --config cifar_fs.yaml --config machine/4gpu.yaml --run runs/cifar_fs
#
# What is left of the run is made however often the job is begun. Five minutes before its time is over Slurm sends
# SIGUSR1: the run saves at the end of its step, puts the job back into the queue and ends; begun again, it goes on
# from there to the same bits. A preempted job, which is sent SIGTERM, does the same; a cancelled one saves and ends.
# A task that fails ends the others, which would wait for it.
srun --kill-on-bad-exit=1 purer fit "$@" \
  --trainer.devices "$SLURM_NTASKS_PER_NODE" --trainer.num_nodes "$SLURM_JOB_NUM_NODES" --ckpt_path last
