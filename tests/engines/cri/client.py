"""A CRI client for tests, in the role of the kubelet. Requests and answers are lines of JSON.

    client.py LISTEN ENGINE API

LISTEN is the Unix socket to serve on, ENGINE is the socket of containerd, and
API is the compiled interface (`protoc --descriptor_set_out`). A connection
sends one request per line:

    {"call": "RuntimeService/Version", "request": {}}
    {"stream": URL, "steps": [{"send": "id\\n"}, {"expect": "uid"}, {"resize": [80, 25]}, {"leave": true}]}

and receives `{"answer": ...}` or `{"error": "CODE: text"}`. The answer of a
stream is the data of each channel of the protocol v4.channel.k8s.io: 1 is
standard output, 2 is standard error, 3 is the exit status.
"""

import json
import socketserver
import sys

import grpc
import websocket
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

listen, engine, api = sys.argv[1:]

files = descriptor_pb2.FileDescriptorSet()
with open(api, "rb") as compiled:
    files.ParseFromString(compiled.read())
pool = descriptor_pool.DescriptorPool()
for file in files.file:
    pool.Add(file)
messages = message_factory.MessageFactory(pool)
channel = grpc.insecure_channel("unix://" + engine)

# Longer than any call of a test.
SECONDS = 40


def call(name, request):
    service, method = name.split("/")
    descriptor = pool.FindServiceByName("runtime.v1." + service).FindMethodByName(method)
    request_type = messages.GetPrototype(descriptor.input_type)
    answer_type = messages.GetPrototype(descriptor.output_type)
    send = channel.unary_unary(
        f"/runtime.v1.{service}/{method}",
        request_serializer=request_type.SerializeToString,
        response_deserializer=answer_type.FromString,
    )
    answer = send(json_format.ParseDict(request, request_type()), timeout=SECONDS)
    result = json_format.MessageToDict(
        answer, including_default_value_fields=True, preserving_proto_field_name=True
    )
    # Return bytes fields, such as the output of a process, as text instead of base64.
    for field in answer.DESCRIPTOR.fields:
        if field.type == field.TYPE_BYTES:
            result[field.name] = getattr(answer, field.name).decode("utf-8", "replace")
    return result


class Stream:
    """An Exec, Attach or PortForward stream; `received` maps channels to their data."""

    def __init__(self, url, first):
        url = url.replace("http://", "ws://")
        self.socket = websocket.create_connection(
            url, subprotocols=["v4.channel.k8s.io"], timeout=SECONDS
        )
        self.received = {}
        self.first = first

    def receive(self):
        """Receives one message. Returns False when the server has closed the stream."""
        try:
            data = self.socket.recv()
        except websocket.WebSocketConnectionClosedException:
            return False
        if not data:
            return False
        data = data.encode("latin-1") if isinstance(data, str) else data
        number, data = str(data[0]), data[1:]
        # In port forwarding each channel starts with the port number.
        skip = self.first if number not in self.received else 0
        self.received[number] = self.received.get(number, "") + data[skip:].decode("utf-8", "replace")
        return True

    def step(self, send=None, expect=None, resize=None, leave=None):
        if send is not None:
            self.socket.send_binary(b"\0" + send.encode())
        if resize is not None:
            size = {"Width": resize[0], "Height": resize[1]}
            self.socket.send_binary(b"\4" + json.dumps(size).encode())
        while expect is not None and expect not in "".join(self.received.values()):
            if not self.receive():
                raise EOFError(f"{expect!r} not received: {self.received}")
        if leave:
            self.socket.close()


def stream(url, steps, first):
    connection = Stream(url, first)
    for step in steps:
        connection.step(**step)
    if not steps or not steps[-1].get("leave"):
        while connection.receive():
            pass
    return connection.received


class Connection(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(json.dumps(self.answer(json.loads(line))).encode() + b"\n")

    def answer(self, request):
        try:
            if "call" in request:
                return {"answer": call(request["call"], request["request"])}
            return {"answer": stream(request["stream"], request["steps"], request.get("first", 0))}
        except grpc.RpcError as error:
            return {"error": f"{error.code().name}: {error.details()}"}
        except Exception as error:  # The test decides whether it is a failure.
            return {"error": f"{type(error).__name__}: {error}"}


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 64


Server(listen, Connection).serve_forever()
