"""The whole service looks up no name that nobody asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.service import command, environment, make_project
from tools.serve.ports import free_port, free_triton_ports

# Runs in a network of its own, whose only name server records the names.
PROGRAM = """
import json, os, socket, subprocess, sys, threading, time
port, *service = sys.argv[1:]
names = []
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
def record():
    while True:
        query, address = server.recvfrom(4096)
        labels, position = [], 12
        while query[position]:
            labels.append(query[position + 1:position + 1 + query[position]].decode())
            position += 1 + query[position]
        names.append(".".join(labels))
        server.sendto(query[:2] + b"\\x81\\x83" + query[4:6] + bytes(6) + query[12:], address)
threading.Thread(target=record, daemon=True).start()
process = subprocess.Popen(service, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
lines = []
for line in process.stdout:
    lines.append(line)
    if line.startswith("Ctrl-C"):
        break
def post(body):
    connection = socket.create_connection(("127.0.0.1", int(port)), 60)
    head = "POST / HTTP/1.1", "Host: x", "Connection: close", "Content-Type: application/json"
    connection.sendall("\\r\\n".join([*head, f"Content-Length: {len(body)}", "", body]).encode())
    answer = b""
    while chunk := connection.recv(4096):
        answer += chunk
    return answer.decode()
answer = post(json.dumps({"images": ["http://asked-for.example/a.jpg"]}))
time.sleep(6)  # a round of health checks
process.terminate()
process.communicate()
print(json.dumps({"names": names, "answer": answer, "lines": lines}))
"""


def test_only_names_of_callers_are_looked_up(tiny_repository: Path, tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", tiny_repository)
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    prepare = f"ip link set lo up && mount --bind {tmp_path}/resolv.conf /etc/resolv.conf"
    isolated = ["unshare", "--net", "--mount", "sh", "-c", f'{prepare} && exec "$@"', "sh"]
    if subprocess.run([*isolated, "true"], capture_output=True, check=False).returncode:
        pytest.skip("only root can create networks")
    port, triton = free_port(), free_triton_ports()
    settings = {"HOME": str(tmp_path), "BIRDS_MODEL_MIRROR": ""}
    variables = {name: value for name, value in environment(port, **settings).items() if name != "CI"}
    ended = subprocess.run(
        [*isolated, sys.executable, "-c", PROGRAM, str(port), *command((triton.http, triton.grpc, triton.metrics))],
        cwd=project,
        env=variables,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    record = json.loads(ended.stdout.splitlines()[-1])
    assert "download_failed" in record["answer"], record
    assert {name.rstrip(".") for name in record["names"]} == {"asked-for.example"}
    assert not (tmp_path / "intel").exists()
