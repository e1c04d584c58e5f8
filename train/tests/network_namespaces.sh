#!/usr/bin/env bash
# Two hosts on one machine: network namespaces with a link between them, an Open MPI daemon on each,
# ranks that see each other over that link alone. Trains on both; then slows the link, kills a rank,
# and cuts the link, and checks what each of these does.
#
#   train/tests/network_namespaces.sh STRIATE FOLDER
#
# STRIATE is the program, built with `--features mpi`; FOLDER holds MNIST's four IDX files. Needs
# root, Open MPI and iproute2; exits with 77 where namespaces are not permitted.
set -euo pipefail

striate=$(realpath "$1")
data=$(realpath "$2")
digits=$(realpath "$(dirname "$0")/../../examples/digits")
work=$(mktemp -d)
left=striate-left right=striate-right
timeout=6

export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

skip() { echo "skipped: $1"; exit 77; }
fail() { echo "FAILED: $1"; tail -n 30 "$work/log" 2>/dev/null; exit 1; }
say() { printf '%-34s %s\n' "$1" "$2"; }

for tool in ip tc mpirun; do command -v $tool >/dev/null || skip "no $tool"; done
ip netns add $left 2>/dev/null || skip "network namespaces are not permitted"
trap 'stop_all; ip netns del $left; ip netns del $right 2>/dev/null; rm -rf "$work"' EXIT
ip netns add $right
ip link add veth-left netns $left type veth peer name veth-right netns $right
for host in left right; do
  address=10.77.0.$([ $host = left ] && echo 1 || echo 2)
  ip -n striate-$host address add $address/24 dev veth-$host
  ip -n striate-$host link set veth-$host up
  ip -n striate-$host link set lo up
  # mpirun itself has no time limit on a daemon that it cannot reach: the system's is 15 minutes.
  ip netns exec striate-$host sysctl -qw net.ipv4.tcp_retries2=5
done

# What mpirun starts on another host, with a word of its own in place of ssh: no daemon, no keys.
cat >"$work/agent" <<AGENT
#!/usr/bin/env bash
host=\$1; shift
exec ip netns exec $right bash -c "\$*"
AGENT
chmod +x "$work/agent"

# Ends what this script has started in the namespaces, and nothing else.
stop_all() {
  for host in $left $right; do
    for pid in $(ip netns pids $host 2>/dev/null); do kill -9 "$pid" 2>/dev/null || true; done
  done
}

# start NAME RANKS MORE…: a training on both hosts, in the background.
start() {
  local name=$1 ranks=$2; shift 2
  : >"$work/log"
  ip netns exec $left mpirun -n "$ranks" --host "10.77.0.1:$((ranks / 2)),10.77.0.2:$((ranks / 2))" \
    --mca plm_rsh_agent "$work/agent" --mca btl tcp,self --mca btl_tcp_if_include 10.77.0.0/24 \
    --mca oob_tcp_if_include 10.77.0.0/24 --mca oob_tcp_keepalive_time 3 \
    --mca oob_tcp_keepalive_intvl 1 --mca oob_tcp_keepalive_probes 5 \
    "$striate" train --spec "$digits/lenet.json" --options "$digits/options.json" \
    --recipe "$digits/recipe.json" --train-list "$data/train-images-idx3-ubyte" \
    --test-list "$data/t10k-images-idx3-ubyte" --device cpu --threads "$ranks" \
    --timeout $timeout --checkpoint-every 20 --working "$work/$name.sqlite3" "$@" \
    >"$work/log" 2>&1 &
  run=$!
}

# The processes of a rank.
process_of() {
  for host in $left $right; do
    for pid in $(ip netns pids $host); do
      if [ "$(readlink "/proc/$pid/exe")" = "$striate" ] &&
        grep -zq "^OMPI_COMM_WORLD_RANK=$1$" "/proc/$pid/environ"; then
        echo "$pid"
      fi
    done
  done
}

# Waits until a checkpoint is there, then for a moment in the middle of things.
underway() {
  for _ in $(seq 100); do
    [ -e "$work/$1.sqlite3" ] && break
    sleep 0.2
  done
  [ -e "$work/$1.sqlite3" ] || fail "no checkpoint after 20 s"
  sleep 1
}

# The run must end by itself, with an error, within so many seconds; and leave a file to go on with.
must_end() {
  local what=$1 name=$2 limit=$3 began=$SECONDS
  while kill -0 "$run" 2>/dev/null; do
    [ $((SECONDS - began)) -le "$limit" ] || fail "$what: still running after $limit s"
    sleep 0.2
  done
  local status=0
  wait "$run" || status=$?
  [ $status -ne 0 ] || fail "$what: exit code 0"
  local took=$((SECONDS - began))
  "$striate" inspect "$work/$name.sqlite3" >/dev/null || fail "$what: the checkpoint is damaged"
  say "$what" "ended after $took s, exit code $status, checkpoint intact"
  grep -hE '^error: rank|noticed that process rank|ORTE has lost' "$work/log" | sort | uniq -c |
    sed 's/^/    /' || true
}

short="--max-iterations 60 --mini-batch 64"
"$striate" train --spec "$digits/lenet.json" --options "$digits/options.json" \
  --recipe "$digits/recipe.json" --train-list "$data/train-images-idx3-ubyte" \
  --test-list "$data/t10k-images-idx3-ubyte" --device cpu --checkpoint-every 20 \
  --working "$work/one.sqlite3" $short --parallel data --quiet >/dev/null

for ranks in 2 4; do
  start both$ranks $ranks $short --parallel data
  wait $run || fail "$ranks ranks on two hosts"
  cmp "$work/one.sqlite3" "$work/both$ranks.sqlite3" || fail "$ranks ranks on two hosts: other bits"
  say "$ranks ranks on two hosts" "the same bits as one process"
done
start hybrid 2 $short --parallel hybrid
wait $run || fail "hybrid on two hosts"
say "hybrid on two hosts" "done"

if tc -n $left qdisc add dev veth-left root tbf rate 50mbit burst 64kb latency 50ms 2>/dev/null; then
  began=$SECONDS
  start slow 2 $short --parallel data
  wait $run || fail "a slow link"
  cmp "$work/one.sqlite3" "$work/slow.sqlite3" || fail "a slow link: other bits"
  say "a link of 50 Mbit/s" "the same bits, $((SECONDS - began)) s"
  tc -n $left qdisc del dev veth-left root
else
  say "a slow link" "skipped: this kernel has no token bucket filter"
fi

# Away for less than the time limit: TCP sends again what was lost.
start away 2 --max-iterations 600 --max-epoch 100 --mini-batch 64 --parallel data
underway away
ip -n $left link set veth-left down
sleep 3
ip -n $left link set veth-left up
wait $run || fail "a link that was away for 3 s"
"$striate" train --spec "$digits/lenet.json" --options "$digits/options.json" \
  --recipe "$digits/recipe.json" --train-list "$data/train-images-idx3-ubyte" \
  --test-list "$data/t10k-images-idx3-ubyte" --device cpu --checkpoint-every 20 \
  --max-iterations 600 --max-epoch 100 --mini-batch 64 --parallel data \
  --working "$work/stayed.sqlite3" --quiet >/dev/null
cmp "$work/stayed.sqlite3" "$work/away.sqlite3" || fail "a link that was away: other bits"
say "a link that was away for 3 s" "the same bits"

start kill 2 --max-epoch 1000 --parallel data
underway kill
kill -9 "$(process_of 1)"
must_end "rank 1 killed, on the other host" kill 30

start stop 2 --max-epoch 1000 --parallel data
underway stop
kill -STOP "$(process_of 1)"
must_end "rank 1 stopped" stop $((timeout + 30))

start cut 2 --max-epoch 1000 --parallel data
underway cut
ip -n $left link set veth-left down
must_end "the link cut" cut $((timeout + 60))
ip -n $left link set veth-left up
stop_all
echo 'all as it must be'
