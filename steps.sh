#!/bin/sh
for i in 1 2 3; do srun -n1 -N1 --container=/tmp/h-slurm/m/bundle sh -c 'echo step $SLURM_STEP_ID pid $$; exit '$i; echo st $?; done
srun -n1 -N1 --container=/tmp/h-slurm/m/bundle sh -c 'trap "echo got term; exit 9" TERM; sleep 50 & wait' 
