"""Reads a host's events as a consumer of its own would: from the stream by a consumer group, and from the channels, with redis-py and the
CloudEvents SDK. Prints one line of JSON: the attributes and the data of each event, from both."""

import json
import sys

import redis
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

CHANNELS = ["agent_events", "graveyard_events", "system_events", "alerts"]
FORMAT = JSONFormat()


def show(event):
    attributes = {name: str(value) for name, value in event.get_attributes().items()}
    return {"attributes": attributes, "data": event.get_data()}


def main(port, stream, count):
    client = redis.Redis(port=port, socket_timeout=300)
    published = client.pubsub(ignore_subscribe_messages=True)
    published.subscribe(*CHANNELS)
    client.xgroup_create(stream, "reader", id="0", mkstream=True)
    print("ready", flush=True)
    entries = []
    while len(entries) < count:
        for _, batch in client.xreadgroup("reader", "one", {stream: ">"}, count=10, block=1000):
            for entry, fields in batch:
                event = FORMAT.read(CloudEvent, fields[b"event"])
                assert event.get_id() == entry.decode(), (event.get_id(), entry)
                entries.append(show(event))
                client.xack(stream, "reader", entry)
    heard = []
    while len(heard) < count:
        message = published.get_message(timeout=300)
        if message is not None:
            event = FORMAT.read(CloudEvent, message["data"])
            heard.append({"channel": message["channel"].decode(), **show(event)})
    print(json.dumps({"entries": entries, "heard": heard}), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
