"""moto and ministack, over HTTP on this machine: a server process, and as many connections as make it fastest.

The server's processor time is counted, the client's is not. Each execution goes from the text of a message to the text of its output.
"""

import argparse
import http.client
import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time

HEADERS = {
    "Content-Type": "application/x-amz-json-1.0",
    # Nobody checks the signature; the region and the service are read from its scope.
    "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/states/aws4_request, SignedHeaders=host, Signature=none",
}


class Connection:
    """One connection that stays open."""

    def __init__(self, port):
        self.client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.client.connect()
        self.client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def post(self, path, headers, body):
        self.client.request("POST", path, json.dumps(body), headers)
        answer = self.client.getresponse()
        text = answer.read()
        if answer.status >= 300:
            sys.exit(f"{path} {headers}: {answer.status} {text[:300]}")
        return json.loads(text)

    def call(self, action, **body):
        return self.post("/", {**HEADERS, "X-Amz-Target": f"AWSStepFunctions.{action}"}, body)


class Ministack:
    """StartSyncExecution. Every execution sleeps 0.15 s in the server, so many have to be under way."""

    package, connections, batch = "ministack", 256, 1

    @staticmethod
    def command(port):
        settings = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "SERVICES": "stepfunctions", "LOG_LEVEL": "ERROR"}
        settings["MINISTACK_WORKER_THREADS"] = str(Ministack.connections)
        return ["ministack"], settings

    @staticmethod
    def prepare(connection):
        pass

    @staticmethod
    def execute(connection, machine, jobs):
        for name, text in jobs:
            yield connection.call("StartSyncExecution", stateMachineArn=machine, name=name, input=text)


class Moto:
    """StartExecution and DescribeExecution: the server has no StartSyncExecution. By default it only pretends to execute, so it is told to."""

    package, connections, batch = "moto", 2, 8

    @staticmethod
    def command(port):
        return ["moto_server", "-H", "127.0.0.1", "-p", str(port)], {}

    @staticmethod
    def prepare(connection):
        connection.post("/moto-api/config", {"Content-Type": "application/json"}, {"stepfunctions": {"execute_state_machine": True}})

    @staticmethod
    def execute(connection, machine, jobs):
        started = [connection.call("StartExecution", stateMachineArn=machine, name=name, input=text)["executionArn"] for name, text in jobs]
        for execution in started:
            answer = connection.call("DescribeExecution", executionArn=execution)
            while answer["status"] == "RUNNING":
                time.sleep(0.001)
                answer = connection.call("DescribeExecution", executionArn=execution)
            yield answer


def output(answer):
    if answer["status"] == "SUCCEEDED":
        return answer["output"]
    return json.dumps({"Error": answer.get("error"), "Cause": answer.get("cause")})


def wait_for(port, server):
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        try:
            return socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
    sys.exit("the server does not come up")


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        times = file.read().rsplit(") ", 1)[1].split()[11:13]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def execute_all(kind, port, machine, messages, prefix):
    """Every message once, shared among the connections; the outputs in order."""
    outputs = [None] * len(messages)

    def work(mine):
        connection = Connection(port)
        for start in range(0, len(mine), kind.batch):
            numbers = mine[start : start + kind.batch]
            jobs = [(f"{prefix}{number}", messages[number]) for number in numbers]
            for number, answer in zip(numbers, kind.execute(connection, machine, jobs)):
                outputs[number] = output(answer)

    numbers = range(len(messages))
    threads = [threading.Thread(target=work, args=(numbers[at :: kind.connections],)) for at in range(kind.connections)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if None in outputs:
        sys.exit("an execution has no output")
    return outputs, time.perf_counter() - start


def measure(kind, server, port, flags, messages):
    first = Connection(port)
    kind.prepare(first)
    with open(flags.definition, encoding="utf-8") as file:
        role = "arn:aws:iam::000000000000:role/bench"
        machine = first.call("CreateStateMachine", name="heartbeat", definition=file.read(), roleArn=role, type="EXPRESS")["stateMachineArn"]
    outputs, _ = execute_all(kind, port, machine, messages, "heartbeats-0-")
    with open(flags.outputs, "w", encoding="utf-8") as file:
        file.writelines(f"{text}\n" for text in outputs)
    times, total, before = [], 0.0, cpu_s(server.pid)
    while total < flags.measure_s:
        # A name counts once, so each pass has names of its own.
        times.append(execute_all(kind, port, machine, messages, f"pass-{len(times)}-")[1])
        total += times[-1]
    version = f"{importlib.metadata.version(kind.package)}, Python {sys.version.split()[0]}"
    result = {"version": version, "executions_per_pass": len(messages), "pass_s": times, "cpu_s": cpu_s(server.pid) - before}
    print(json.dumps({**result, "server_pid": server.pid, "rss_kb": peak_kb(server.pid)}))


def peak_kb(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:"))


def main():
    # So that the server is ended, too, when this process is.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=["moto", "ministack"])
    for name in ("messages", "outputs", "definition"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--warm-s", type=float, help="not used: nothing here gets warm")
    parser.add_argument("--measure-s", type=float, required=True)
    flags = parser.parse_args()
    kind = {"moto": Moto, "ministack": Ministack}[flags.kind]
    with open(flags.messages, encoding="utf-8") as file:
        messages = file.read().splitlines()[: flags.count]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (program, *arguments), settings = kind.command(port)
    command = [os.path.join(sysconfig.get_path("scripts"), program), *arguments]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env={**os.environ, **settings}, **quiet) as server:
        try:
            wait_for(port, server)
            measure(kind, server, port, flags, messages)
        finally:
            server.terminate()


if __name__ == "__main__":
    main()
