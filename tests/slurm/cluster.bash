# A Slurm of one machine for tests: munged, slurmctld and two slurmd ("n1", "n2", a core each) on loopback, as the user who
# runs the test, all of it below one folder. Sourced; needs Debian's slurm-wlm and munge.
#
#   slurm_missing            prints what is not installed, nothing where all is there
#   slurm_start FOLDER       starts it and waits until both nodes are idle; SLURM_CONF is exported. Fails with a reason.
#   slurm_stop               ends what slurm_start started, by process id, with the jobs that still run

slurm_pids=()

slurm_missing() {
    local program
    for program in munged slurmctld slurmd sbatch squeue scancel; do
        PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || printf '%s ' "$program"
    done
}

# Some ports that nobody listens on, from a place that depends on this process.
slurm_free_ports() {
    python3 - "$1" <<'PY'
import socket, sys
held = [socket.socket() for _ in range(int(sys.argv[1]))]
for one in held: one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in held))
PY
}

# slurm_configure FOLDER: slurm.conf there. Nodes are named and their hardware is as written, not as found.
slurm_configure() {
    local folder=$1 user ports
    user=$(id -un)
    read -r -a ports < <(slurm_free_ports 3)
    mkdir -p "$folder"/{state,spool.n1,spool.n2,munge}
    chmod 700 "$folder/munge"
    cat >"$folder/slurm.conf" <<CONF
ClusterName=ptqtest
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=${ports[0]}
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
SlurmUser=$user
SlurmdUser=$user
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool.%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,bf_interval=1
MaxArraySize=8
ReturnToService=2
KillWait=1
MinJobAge=600
NodeName=n1 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=${ports[1]} CPUs=1 State=UNKNOWN
NodeName=n2 NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=${ports[2]} CPUs=1 State=UNKNOWN
PartitionName=test Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
CONF
}

slurm_start() {
    local folder=$1 node
    PATH=$PATH:/usr/sbin:/sbin
    slurm_configure "$folder"
    export SLURM_CONF=$folder/slurm.conf
    head -c 1024 /dev/urandom >"$folder/munge/key"
    chmod 600 "$folder/munge/key"
    munged --foreground --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" \
        --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" --seed-file="$folder/munge/seed" \
        >"$folder/munged.out" 2>&1 &
    slurm_pids+=($!)
    slurm_wait 50 test -S "$folder/munge/socket" || { echo "munged: $(tail -1 "$folder/munged.out")"; return 1; }
    slurmctld -D >"$folder/slurmctld.out" 2>&1 &
    slurm_pids+=($!)
    for node in n1 n2; do
        slurmd -D -N $node >"$folder/slurmd.$node.out" 2>&1 &
        slurm_pids+=($!)
    done
    slurm_wait 200 slurm_is_up || { echo "slurm: $(tail -n 2 "$folder"/slurmctld.log "$folder"/slurmd.*.log)"; return 1; }
}

# slurm_wait TENTHS COMMAND...: until it holds, or fails.
slurm_wait() {
    local tenths=$1
    shift
    while ! "$@" >/dev/null 2>&1; do
        [ $((tenths--)) -gt 0 ] || return 1
        sleep 0.1
    done
}

slurm_is_up() {
    [ "$(sinfo --noheader --Node --format=%t | grep -c '^idle$')" = 2 ]
}

slurm_stop() {
    local pid
    scancel --quiet --user="$(id -un)" 2>/dev/null || true
    for pid in "${slurm_pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${slurm_pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    slurm_pids=()
}
