"""Load on a running Headrope: OTLP metrics over HTTP, encoded beforehand, and what they cost the server.

    python tests/load/ingest.py http://127.0.0.1:4318 PID [SECONDS]

Needs the packages of tests/python/requirements.txt. Each request holds 10,000 points of 100 metrics with 8 attributes each; every
point of a series has a time of its own. Prints samples a second, and samples per CPU second of process PID, from /proc/PID/stat.
"""

import http.client
import sys
import threading
import time
from urllib.parse import urlsplit

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

REQUESTS = 24
CLIENTS = 2


def request(n, now_ns):
    message = ExportMetricsServiceRequest()
    resource = message.resource_metrics.add()
    for key, value in (("service.name", "load"), ("host.name", "load-host")):
        attribute = resource.resource.attributes.add()
        attribute.key, attribute.value.string_value = key, value
    scope = resource.scope_metrics.add()
    for m in range(100):
        metric = scope.metrics.add()
        metric.name = f"load.metric.{m}"
        metric.gauge.SetInParent()
        for p in range(100):
            point = metric.gauge.data_points.add()
            point.time_unix_nano = now_ns - n * 1_000_000_000
            point.as_double = p * 1.5 + n
            for a in range(8):
                attribute = point.attributes.add()
                attribute.key = f"attribute.{a}"
                attribute.value.string_value = f"value-{p if a == 0 else a}"
    return message.SerializeToString()


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def main():
    url, pid = urlsplit(sys.argv[1]), int(sys.argv[2])
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 20
    now_ns = time.time_ns()
    bodies = [request(n, now_ns) for n in range(REQUESTS)]
    until, counts = time.monotonic() + seconds, [0] * CLIENTS

    def send(client):
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=30)
        n = client
        while time.monotonic() < until:
            connection.request("POST", "/v1/metrics", bodies[n % REQUESTS], {"content-type": "application/x-protobuf"})
            answer = connection.getresponse()
            answer.read()
            if answer.status == 200:
                counts[client] += 10_000
            elif answer.status != 429:
                raise SystemExit(f"HTTP {answer.status}")
            n += CLIENTS

    cpu, start = cpu_seconds(pid), time.monotonic()
    threads = [threading.Thread(target=send, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, cpu, samples = time.monotonic() - start, cpu_seconds(pid) - cpu, sum(counts)
    print(f"{samples} samples in {took:.1f} s: {samples / took:,.0f} samples/s, {samples / cpu:,.0f} samples per CPU second")


main()
