#!/usr/bin/env bash
# A real Apache Kafka (KRaft) on 127.0.0.1 for tests and benchmarks, out of Maven Central jars: needs Java 17 and Maven, no Docker.
#
#   tests/kafka.sh [--port P] [--brokers N] [--dir D] COMMAND [NODE…]
#
#   start    start the nodes named (default: all); returns once each accepts clients; a running node is left alone
#   stop     end them in order (SIGTERM) and wait until they are gone
#   kill     end them at once (SIGKILL)
#   restart  stop, then start
#   status   one line a node: up or down, address, pid; exit code 1 when one is down
#   wipe     kill all, and delete the cluster's folder
#   fetch    only fill the cache of jars
#   topics | produce | consume | groups | configs OPTION…   Kafka's own tool of that purpose (kafka-topics.sh, kafka-console-producer.sh,
#            kafka-console-consumer.sh, kafka-consumer-groups.sh, kafka-configs.sh), pointed at this cluster
#
#   --port P      node n listens on P+n-1, its controller on P+500+n-1   (default 9092)
#   --brokers N   size of the cluster, 1 or 3; 3 means replication factor 3 and 2 in-sync replicas   (default 1)
#   --proxied     node n listens on P+200+n-1 too, and names P+300+n-1 to whoever comes that way: the place for a proxy that misbehaves
#   --secured     node n listens on P+600+n-1 by TLS with client certificates, on P+610+n-1 by SASL over TLS and on P+620+n-1 by SASL
#                 alone, known as localhost; the throw-away authority and the client's files are made in D/tls. User and password are
#                 "tester" and "tester-secret", by PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512; the client's key has the password "key-secret".
#                 OAUTHBEARER lets in whoever has an unsigned token that has not expired, and cuts the connection when it does
#   --dir D       data, configuration, logs and pids; a cluster is its folder   (default /tmp/expressway-kafka-UID-P)
#
# Environment: KAFKA_VERSION; KAFKA_HEAP (512m a node); KAFKA_SETTINGS ("key=value key=value", added to each node's
# configuration when it is started); KAFKA_TIMEOUT (60 seconds for one start or stop); XDG_CACHE_HOME; JAVA; MVN.
set -euo pipefail

VERSION=${KAFKA_VERSION:-4.3.1}
JARS=${XDG_CACHE_HOME:-$HOME/.cache}/expressway/kafka-$VERSION-tools
JAVA=${JAVA:-java} MVN=${MVN:-mvn}
TIMEOUT=${KAFKA_TIMEOUT:-60}

fail() { printf 'kafka.sh: %s\n' "$*" >&2; exit 3; }
manual() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0"; }
usage() { manual >&2; exit 2; }

port=9092 brokers=1 dir='' proxied='' secured=''
while [[ ${1:-} == --* ]]; do
  case $1 in
    --proxied) proxied=yes; shift; continue ;;
    --secured) secured=yes; shift; continue ;;
    --help) manual; exit ;;
  esac
  [[ $# -ge 2 ]] || usage
  case $1 in
    --port) port=$2 ;;
    --brokers) brokers=$2 ;;
    --dir) dir=$2 ;;
    *) usage ;;
  esac
  shift 2
done
[[ $port =~ ^[0-9]+$ && $brokers =~ ^[13]$ ]] || usage
dir=${dir:-/tmp/expressway-kafka-$(id -u)-$port}
[[ $dir == /* ]] || dir=$PWD/$dir

broker_port() { echo $((port + $1 - 1)); }
controller_port() { echo $((port + 500 + $1 - 1)); }
accepts() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Waits until "$@" holds, looking twenty times a second; 1 when TIMEOUT passes first.
wait_until() {
  local end=$((SECONDS + TIMEOUT))
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.05
  done
}

# The jars are resolved into a folder of their own and renamed into place, so that a broken download is never taken for a whole one; the lock serves two callers at a time.
fetch() {
  [[ -d $JARS ]] && return
  mkdir -p "${JARS%/*}"
  (
    flock 9
    [[ -d $JARS ]] && exit 0
    command -v "$MVN" >/dev/null || fail "no mvn: install the Debian package maven"
    echo "kafka.sh: fetching Kafka $VERSION from Maven Central into $JARS" >&2
    part=$JARS.part
    rm -rf "$part"; mkdir -p "$part"
    cat >"$part/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>expressway</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
POM
    "$MVN" -q -B -f "$part/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$part" >&2 \
      || fail "Maven could not resolve Kafka $VERSION"
    mv "$part" "$JARS"
  ) 9>"${JARS%/*}/lock"
}

# Prints the pid of a node that runs: the number on file counts only when that process really is this node, for pids are reused,
# and has not been killed. One that waits for its disk dies only after that, and accepts connections until then.
pid_of() {
  local pid
  pid=$(cat "$dir/$1/pid" 2>/dev/null) || return 1
  tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -qxF "$dir/$1/server.properties" || return 1
  ! has_sigkill "$pid" || return 1
  echo "$pid"
}
# Of the mask of pending signals, SIGKILL is the lowest bit of the third digit from the right.
has_sigkill() { grep -qE '^(SigPnd|ShdPnd):.*[13579bdf]..$' "/proc/$1/status" 2>/dev/null; }
is_up() { pid_of "$1" >/dev/null && accepts "$(broker_port "$1")"; }
is_down() { ! pid_of "$1" >/dev/null && is_gone "$1" && ! accepts "$(broker_port "$1")"; }
# Killed, and not yet gone: the first thread loses its command line before the last one closes the port.
is_dying() {
  local pid
  pid=$(cat "$dir/$1/pid" 2>/dev/null) && kill -0 "$pid" 2>/dev/null || return 1
  has_sigkill "$pid" && return
  [[ -z $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") ]] && ! is_zombie "$pid" && ! is_of_kernel "$pid"
}
# Nothing but an entry that nobody has read: all its threads have ended.
is_zombie() { [[ $(sed -n 's/^\(State\|Threads\):[[:space:]]*\([^ ]*\).*/\2/p' "/proc/$1/status" 2>/dev/null | tr '\n' ' ') =~ ^(Z\ [01]\ |)$ ]]; }
# A thread of the kernel, which has no command line either; the number on file was given away again.
is_of_kernel() { [[ $(sed -n 's/^Kthread:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null) == 1 ]]; }
is_gone() { ! is_dying "$1"; }
is_up_or_dead() { is_up "$1" || ! pid_of "$1" >/dev/null; }

# A throw-away authority, a certificate for the brokers that names localhost alone, and one for clients with its key under a password.
make_authority() {
  local tls=$dir/tls who
  [[ -e $tls/ready ]] && return
  command -v openssl >/dev/null || fail "no openssl: install the Debian package openssl"
  mkdir -p "$tls"
  {
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=expressway throw-away authority' -keyout "$tls/ca.key" -out "$tls/ca.pem"
    for who in broker client; do
      openssl req -newkey rsa:2048 -nodes -subj "/CN=$who" -keyout "$tls/$who.plain.key" -out "$tls/$who.csr"
      openssl x509 -req -in "$tls/$who.csr" -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -CAcreateserial -days 2 -out "$tls/$who.pem" \
        -extfile <(echo 'subjectAltName=DNS:localhost')
    done
    openssl pkcs8 -topk8 -v2 aes-256-cbc -passout pass:key-secret -in "$tls/client.plain.key" -out "$tls/client.key"
    cat "$tls/broker.plain.key" "$tls/broker.pem" >"$tls/broker.keystore.pem"
  } >"$tls/openssl.log" 2>&1 || fail "the throw-away authority could not be made: $(tail -n 3 "$tls/openssl.log")"
  touch "$tls/ready"
}

# Listeners by TLS and SASL; the broker's own traffic stays on the plain one.
secure() {
  local oauth=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule
  local node=$1 plain=org.apache.kafka.common.security.plain.PlainLoginModule scram=org.apache.kafka.common.security.scram.ScramLoginModule
  local tls=$((port + 600 + node - 1)) sasl_tls=$((port + 610 + node - 1)) sasl=$((port + 620 + node - 1)) listener
  local direct=127.0.0.1:$(broker_port "$node") controller=127.0.0.1:$(controller_port "$node")
  make_authority
  cat >>"$dir/$node/server.properties" <<SETTINGS
listeners=PLAINTEXT://$direct,TLS://127.0.0.1:$tls,SASL_TLS://127.0.0.1:$sasl_tls,SASL://127.0.0.1:$sasl,CONTROLLER://$controller
advertised.listeners=PLAINTEXT://$direct,TLS://localhost:$tls,SASL_TLS://localhost:$sasl_tls,SASL://localhost:$sasl
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,TLS:SSL,SASL_TLS:SASL_SSL,SASL:SASL_PLAINTEXT
inter.broker.listener.name=PLAINTEXT
ssl.keystore.type=PEM
ssl.keystore.location=$dir/tls/broker.keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location=$dir/tls/ca.pem
listener.name.tls.ssl.client.auth=required
SETTINGS
  for listener in sasl_tls sasl; do
    cat >>"$dir/$node/server.properties" <<SETTINGS
listener.name.$listener.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.$listener.plain.sasl.jaas.config=$plain required user_tester="tester-secret";
listener.name.$listener.scram-sha-256.sasl.jaas.config=$scram required;
listener.name.$listener.scram-sha-512.sasl.jaas.config=$scram required;
listener.name.$listener.oauthbearer.sasl.jaas.config=$oauth required unsecuredLoginStringClaim_sub="broker";
listener.name.$listener.oauthbearer.connections.max.reauth.ms=3600000
SETTINGS
  done
}

write_settings() {
  local node=$1 voters='' n replicas=$brokers in_sync=$(((brokers + 1) / 2))
  for ((n = 1; n <= brokers; n++)); do voters+=${voters:+,}$n@127.0.0.1:$(controller_port "$n"); done
  cat >"$dir/$node/server.properties" <<SETTINGS
node.id=$node
process.roles=broker,controller
controller.quorum.voters=$voters
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$(broker_port "$node"),CONTROLLER://127.0.0.1:$(controller_port "$node")
log.dirs=$dir/$node/log
num.partitions=4
default.replication.factor=$replicas
min.insync.replicas=$in_sync
offsets.topic.num.partitions=4
offsets.topic.replication.factor=$replicas
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$in_sync
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=500
group.consumer.heartbeat.interval.ms=500
group.consumer.min.session.timeout.ms=1000
group.consumer.session.timeout.ms=10000
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=6000
log.cleaner.dedupe.buffer.size=8388608
SETTINGS
  if [[ -n $proxied ]]; then
    local direct=127.0.0.1:$(broker_port "$node") controller=127.0.0.1:$(controller_port "$node") host=127.0.0.1
    cat >>"$dir/$node/server.properties" <<SETTINGS
listeners=PLAINTEXT://$direct,PROXIED://$host:$((port + 200 + node - 1)),CONTROLLER://$controller
advertised.listeners=PLAINTEXT://$direct,PROXIED://$host:$((port + 300 + node - 1))
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,CONTROLLER:PLAINTEXT
SETTINGS
  fi
  [[ -z $secured ]] || secure "$node"
  tr ' ' '\n' <<<"${KAFKA_SETTINGS:-}" >>"$dir/$node/server.properties"
}

format_storage() {
  local node=$1 users=() mechanism
  [[ -e $dir/$node/log/meta.properties ]] && return
  if [[ -n $secured ]]; then
    for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do users+=(--add-scram "$mechanism=[name=tester,password=tester-secret]"); done
  fi
  # Sixteen random bytes, as Kafka writes them; a leading letter, because "-" would read as an option.
  [[ -e $dir/cluster-id ]] || echo "E$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 2-22)" >"$dir/cluster-id"
  "$JAVA" -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$JARS/*" kafka.tools.StorageTool \
    format --cluster-id "$(cat "$dir/cluster-id")" --config "$dir/$node/server.properties" "${users[@]}" >"$dir/$node/format.log" 2>&1 \
    || fail "could not format the storage of node $node: $(tail -n 3 "$dir/$node/format.log")"
}

launch() {
  local node=$1 heap=${KAFKA_HEAP:-512m}
  # A session of its own keeps a terminal's interrupt away from the broker, and without the caller's descriptors it holds no pipe or lock open.
  (
    for fd in /proc/self/fd/*; do
      fd=${fd##*/}
      ((fd < 3)) || eval "exec $fd>&-"
    done 2>/dev/null
    exec setsid "$JAVA" -Xms"$heap" -Xmx"$heap" -XX:+UseParallelGC -XX:-UsePerfData \
      -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true \
      -cp "$JARS/*" kafka.Kafka "$dir/$node/server.properties" >>"$dir/$node/server.log" 2>&1 </dev/null
  ) &
  echo $! >"$dir/$node/pid"
}

start() {
  local node
  fetch
  for node in "$@"; do
    is_up "$node" && continue
    wait_until is_gone "$node" || fail "node $node was killed and is still there after $TIMEOUT s: does its disk stand still?"
    accepts "$(broker_port "$node")" && fail "port $(broker_port "$node") is taken by something else"
    mkdir -p "$dir/$node"
    write_settings "$node"
    format_storage "$node"
    launch "$node"
  done
  for node in "$@"; do
    # The pid on file is the subshell's until it has become the JVM; only then does "dead" mean dead.
    wait_until eval "pid_of $node >/dev/null || ! kill -0 $(cat "$dir/$node/pid") 2>/dev/null" || true
    wait_until is_up_or_dead "$node" || fail "node $node does not accept clients after $TIMEOUT s, see $dir/$node/server.log"
    is_up "$node" || fail "node $node died: $(tail -n 5 "$dir/$node/server.log")"
  done
}

stop() {
  local signal=$1 node pid; shift
  for node in "$@"; do
    if pid=$(pid_of "$node"); then kill "-$signal" "$pid" 2>/dev/null || true; fi
  done
  for node in "$@"; do
    [[ -e $dir/$node/pid ]] || continue
    wait_until is_down "$node" || fail "node $node is still there after $TIMEOUT s"
    rm -f "$dir/$node/pid"
  done
}

status() {
  local node code=0
  for node in "$@"; do
    if is_up "$node"; then
      echo "node $node up 127.0.0.1:$(broker_port "$node") pid $(pid_of "$node")"
    else
      echo "node $node down"
      code=1
    fi
  done
  return $code
}

tool() {
  local class=$1 addresses='' node; shift
  for ((node = 1; node <= brokers; node++)); do addresses+=${addresses:+,}127.0.0.1:$(broker_port "$node"); done
  fetch
  exec "$JAVA" -XX:TieredStopAtLevel=1 -Xmx256m -Dorg.slf4j.simpleLogger.defaultLogLevel=error -cp "$JARS/*" "$class" \
    --bootstrap-server "$addresses" "$@"
}

[[ $# -ge 1 ]] || usage
command=$1; shift
case $command in
  topics) tool org.apache.kafka.tools.TopicCommand "$@" ;;
  produce) tool org.apache.kafka.tools.ConsoleProducer "$@" ;;
  consume) tool org.apache.kafka.tools.consumer.ConsoleConsumer "$@" ;;
  groups) tool org.apache.kafka.tools.consumer.group.ConsumerGroupCommand "$@" ;;
  configs) tool kafka.admin.ConfigCommand "$@" ;;
esac
mapfile -t every < <(seq 1 "$brokers")
nodes=("$@")
[[ $# -gt 0 ]] || nodes=("${every[@]}")
for node in "${nodes[@]}"; do
  [[ $node =~ ^[0-9]+$ ]] && ((node >= 1 && node <= brokers)) || fail "there is no node '$node' in a cluster of $brokers"
done
case $command in
  fetch) fetch ;;
  start) start "${nodes[@]}" ;;
  stop) stop TERM "${nodes[@]}" ;;
  kill) stop KILL "${nodes[@]}" ;;
  restart) stop TERM "${nodes[@]}"; start "${nodes[@]}" ;;
  status) status "${nodes[@]}" ;;
  wipe) stop KILL "${every[@]}"; [[ ! -e $dir/cluster-id ]] || rm -rf "$dir" ;;
  *) usage ;;
esac
