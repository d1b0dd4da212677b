#!/usr/bin/env bash
# Installs the peers by package name into target/peers, from their registries; what is there already is left alone. One may fail without the others.
#
#   bench/peers/install.sh [NAME…]     names: rust vrl java node python   (default: all)
#
# Needs cargo; JDK 17 and Maven; Node 20 and npm; Python 3.11 with venv. Environment: CARGO, MVN, NPM, PYTHON.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=$root/target/peers
mkdir -p "$target"

# The service that plays the peer's part in Rust, and vrl; each has a lock file of its own.
rust() { CARGO_TARGET_DIR=$target/cargo "${CARGO:-cargo}" build --release --locked --manifest-path "$here/rust-service/Cargo.toml"; }
vrl() { CARGO_TARGET_DIR=$target/cargo "${CARGO:-cargo}" build --release --locked --manifest-path "$here/vrl/Cargo.toml"; }

# Plain Jackson, Kafka Streams, Flink: folders of classes and jars.
java() { "${MVN:-mvn}" -q -B -f "$here/java/pom.xml" -Dpeers.target="$target/java" package; }

# Modules are found beside the program, so it is copied.
node() {
  mkdir -p "$target/node"
  cp "$here"/node/{package.json,package-lock.json,engine.mjs} "$target/node/"
  if ! cmp -s "$target/node/package-lock.json" "$target/node/installed"; then
    (cd "$target/node" && "${NPM:-npm}" ci --no-audit --no-fund)
    cp "$target/node/package-lock.json" "$target/node/installed"
  fi
}

python() {
  [[ -x $target/venv/bin/python ]] || "${PYTHON:-python3}" -m venv "$target/venv"
  "$target/venv/bin/pip" install --quiet --requirement "$here/python/requirements.txt"
  cp "$here/python/server.py" "$target/venv/"
}

code=0
[[ $# -gt 0 ]] || set -- rust vrl java node python
for name in "$@"; do
  case $name in
    rust | vrl | java | node | python) ;;
    *) sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2 ;;
  esac
  echo "install.sh: $name" >&2
  # A process of its own, because "set -e" is off in a function whose failure is asked for.
  bash -euo pipefail -c "$(declare -f "$name"); here=\$1 root=\$2 target=\$3; $name" - "$here" "$root" "$target" \
    || { echo "install.sh: $name is not installed, see above" >&2; code=3; }
done
exit $code
