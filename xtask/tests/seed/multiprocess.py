# The seed's server with a process a connection.
#
#     python3 multiprocess.py HOST PORT
#
# With port 0 the kernel chooses; the first line says where the server listens.

import json
import os
import socket
import struct
import sys


def handle_conn(conn, addr, handlers):
    print(addr, "comes")
    while True:
        length_prefix = conn.recv(4)
        if not length_prefix:
            print(addr, "bye")
            conn.close()
            break
        length, = struct.unpack("I", length_prefix)
        body = conn.recv(length)
        request = json.loads(body)
        in_ = request["in"]
        params = request["params"]
        print(in_, params)
        handler = handlers[in_]
        handler(conn, params)


def loop(sock, handlers):
    while True:
        conn, addr = sock.accept()
        pid = os.fork()
        if pid < 0:
            return
        if pid > 0:
            conn.close()
            continue
        if pid == 0:
            sock.close()
            handle_conn(conn, addr, handlers)
            break


def ping(conn, params):
    send_result(conn, "pong", params)


def send_result(conn, out, result):
    response = json.dumps({"out": out, "result": result}).encode()
    length_prefix = struct.pack("I", len(response))
    conn.send(length_prefix)
    conn.sendall(response)


if __name__ == "__main__":
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((sys.argv[1], int(sys.argv[2])))
    sock.listen(1)
    print("listening on %s:%d" % sock.getsockname(), flush=True)
    handlers = {
        "ping": ping
    }
    loop(sock, handlers)
