# The seed's client.
#
#     python3 client.py HOST PORT SLEEP [CALLS]
#
# SLEEP is the pause between two calls in seconds, CALLS how many there are.

import json
import socket
import struct
import sys
import time


def rpc(sock, in_, params):
    request = json.dumps({"in": in_, "params": params}).encode()
    length_prefix = struct.pack("I", len(request))
    sock.send(length_prefix)
    sock.sendall(request)
    length_prefix = sock.recv(4)
    length, = struct.unpack("I", length_prefix)
    body = sock.recv(length)
    response = json.loads(body)
    return response["out"], response["result"]


if __name__ == "__main__":
    host, port, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    calls = int(sys.argv[4]) if len(sys.argv) > 4 else 10
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    s.connect((host, port))
    for i in range(calls):
        out, result = rpc(s, "ping", "ireader %d" % i)
        print(out, result)
        time.sleep(pause)
    s.close()
