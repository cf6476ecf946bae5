"""Stands in for `kubectl` while a test runs the commands of docs/installation.md and docs/disasters.md, and for as much of a cluster as they need.

Host, front and job are the real program with the arguments and variables of the manifests; only addresses and paths are this machine's. What the guide
does not do is refused. As in a cluster: the job and the tunnel of `port-forward` take a while, a secret is made once, a log has both outputs in it, and
`wait` without `--timeout` gives up before a job on a new node has its image.

`KUBECTL_STATE` names a directory with `settings.json`: `ark` (the program), `host`, `telemetry`, `front`, `front_telemetry` (ports). `fails` in it, where
that is there, is the first word of the commands that fail. `events` in it has a line for each thing that started or ended.
"""

import base64
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import yaml

STATE = pathlib.Path(os.environ["KUBECTL_STATE"])
SETTINGS = json.loads((STATE / "settings.json").read_text())
BASE = pathlib.Path("deploy/kubernetes")
# How long the job and the tunnel take, in seconds.
SLOWNESS = 1.0
# The claims of the base.
CLAIMS = ["ark-data", "ark-snapshots"]


def refuse(problem):
    sys.exit(f"kubectl: {problem}")


def note_event(text):
    with (STATE / "events").open("a") as events:
        events.write(text + "\n")


def secret_dir(name):
    return STATE / "secrets" / name


def read_secret(name, key):
    path = secret_dir(name) / key
    if not path.is_file():
        refuse(f"the pod waits: there is no secret {name} with {key}")
    return path.read_text()


def read_pod(file):
    """The pod of a workload of the base."""
    document = next(yaml.safe_load_all((BASE / file).read_text()))
    return document["spec"]["template"]["spec"]


def translate_path(pod, text):
    """A path in a container as that of this machine: the directory of the claim or the secret that is mounted there."""
    for mount in pod["containers"][0]["volumeMounts"]:
        path = mount["mountPath"]
        start, found, rest = text.partition(path)
        if not found or (rest and rest[0] != "/") or (start and start[-1] != "="):
            continue
        volume = next(one for one in pod["volumes"] if one["name"] == mount["name"])
        if "persistentVolumeClaim" in volume:
            place = STATE / "volumes" / volume["persistentVolumeClaim"]["claimName"]
        elif "secret" in volume:
            place = secret_dir(volume["secret"]["secretName"])
        else:
            place = STATE / "tmp"
        if not place.is_dir():
            refuse(f"the pod waits: there is no {place.name}")
        return f"{start}{place}{rest}"
    return text


def describe_environment(pod, own):
    """The variables of a container. `own`: values that are this machine's."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(STATE)}
    for variable in pod["containers"][0]["env"]:
        name = variable["name"]
        if name in own:
            variables[name] = own[name]
        elif "value" in variable:
            variables[name] = translate_path(pod, variable["value"])
        else:
            key = variable["valueFrom"]["secretKeyRef"]
            variables[name] = read_secret(key["name"], key["key"])
    return variables


def host_environment():
    own = {
        "ARK_LISTEN": f"127.0.0.1:{SETTINGS['host']}",
        "ARK_TELEMETRY_LISTEN": f"127.0.0.1:{SETTINGS['telemetry']}",
    }
    return describe_environment(read_pod("statefulset.yaml"), own)


def start_program(name, arguments, environment):
    """Starts the program in the group of the shell, with which it ends."""
    with (STATE / f"{name}.log").open("a") as log:
        process = subprocess.Popen(
            [SETTINGS["ark"], *arguments],
            env=environment,
            cwd=STATE,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    (STATE / f"{name}.pid").write_text(str(process.pid))


def end_program(name):
    """Ends what `start_program` of an earlier command started, if that is there. It is no child of this process, so it is asked for until it is gone."""
    path = STATE / f"{name}.pid"
    if not path.exists():
        return
    process = int(path.read_text())
    path.unlink()
    os.kill(process, signal.SIGTERM)
    while True:
        # A process that has ended is a zombie where nobody waits for it.
        try:
            state = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.02)


def read_image(name):
    path = STATE / f"{name}.image"
    return path.read_text() if path.exists() else None


def exchange_host(image):
    if read_image("host") == image:
        return
    end_program("host")
    start_program("host", read_pod("statefulset.yaml")["containers"][0]["args"], host_environment())
    (STATE / "host.image").write_text(image)
    note_event(f"host {image}")


def exchange_fronts(image):
    """Notes the image. The pod starts when its secrets are there, for which `rollout status` waits."""
    if read_image("front") == image:
        return
    end_program("front")
    (STATE / "front.image").write_text(image)
    note_event(f"fronts {image}")


def start_front():
    pod = read_pod("front.yaml")
    own = {
        "--owner": f"https://localhost:{SETTINGS['host']}",
        "--listen": f"127.0.0.1:{SETTINGS['front']}",
        "--telemetry-listen": f"127.0.0.1:{SETTINGS['front_telemetry']}",
    }
    arguments = []
    for argument in pod["containers"][0]["args"]:
        option = argument.partition("=")[0]
        arguments.append(f"{option}={own[option]}" if option in own else translate_path(pod, argument))
    read_secret("ark-front-token", "token")
    start_program("front", arguments, describe_environment(pod, {}))


def run_job(image):
    # A job that has run is unchanged.
    if (STATE / "job.log").exists():
        return
    pod = read_pod("bootstrap/job.yaml")
    container = pod["containers"][0]
    arguments = [translate_path(pod, argument) for argument in container["args"]]
    done = subprocess.run(
        [SETTINGS["ark"], *arguments],
        env=describe_environment(pod, {}),
        cwd=STATE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        # The log of a pod has both.
        stderr=subprocess.STDOUT,
        check=False,
    )
    (STATE / "job.log").write_bytes(done.stdout)
    note_event(f"job {image}: {done.returncode}")


def apply_list(path):
    directory = pathlib.Path(path)
    listed = yaml.safe_load((directory / "kustomization.yaml").read_text())
    for name in CLAIMS:
        (STATE / "volumes" / name).mkdir(parents=True, exist_ok=True)
    (STATE / "tmp").mkdir(exist_ok=True)
    if directory.resolve() == (BASE / "storage").resolve():
        return
    bases = [(directory / one).resolve() for one in listed["resources"]]
    [image] = listed["images"]
    image = f"{image['newName']}:{image['newTag']}"
    if bases == [(BASE / "bootstrap").resolve()]:
        run_job(image)
    elif bases == [(BASE / "repair").resolve()]:
        start_repair(image)
    elif bases == [BASE.resolve()]:
        exchange_host(image)
        exchange_fronts(image)
    else:
        refuse(f"{path} has other resources than an overlay of the guide")


def scale_host(replicas):
    """Without a replica the host ends; with one it is started from its image again."""
    image = read_image("host")
    if replicas == 0:
        end_program("host")
        note_event("host stopped")
    elif not (STATE / "host.pid").exists():
        (STATE / "host.image").unlink()
        exchange_host(image)


def read_repair():
    document = next(yaml.safe_load_all((BASE / "repair/pod.yaml").read_text()))
    return document["spec"]


def start_repair(image):
    # Both volumes can be mounted on one node at a time.
    if (STATE / "host.pid").exists():
        refuse("the pod waits: a volume is in use by ark-0")
    pod = read_repair()
    arguments = [translate_path(pod, argument) for argument in pod["containers"][0]["args"]]
    (STATE / "repair.log").unlink(missing_ok=True)
    start_program("repair", arguments, describe_environment(pod, {}))
    note_event(f"repair {image}")


def wait_repair(options):
    until = time.monotonic() + (read_timeout(options) or 30)
    while time.monotonic() < until:
        if "listening on" in (STATE / "repair.log").read_text():
            return
        time.sleep(0.05)
    refuse("timed out waiting for the condition on pods/ark-repair")


def run_in_repair(words, takes_input):
    if not (STATE / "repair.pid").exists():
        refuse('pods "ark-repair" not found')
    pod = read_repair()
    done = subprocess.run(
        [SETTINGS["ark"], *(translate_path(pod, word) for word in words)],
        env=describe_environment(pod, {}),
        cwd=STATE,
        stdin=None if takes_input else subprocess.DEVNULL,
        check=False,
    )
    sys.exit(done.returncode)


def delete_secret(name):
    directory = secret_dir(name)
    for file in directory.iterdir():
        file.unlink()
    directory.rmdir()


def create_secret(kind, name, options):
    directory = secret_dir(name)
    if directory.exists():
        refuse(f'secrets "{name}" already exists')
    values = {}
    for option in options:
        flag, _, value = option.partition("=")
        if kind == "tls":
            values[{"--cert": "tls.crt", "--key": "tls.key"}[flag]] = pathlib.Path(value).read_text()
            continue
        key, _, value = value.partition("=")
        values[key] = value if flag == "--from-literal" else pathlib.Path(value).read_text()
    directory.mkdir(parents=True)
    for key, value in values.items():
        file = directory / key
        file.touch(mode=0o600)
        file.write_text(value)


def read_timeout(options):
    [timeout] = [one.partition("=")[2] for one in options if one.startswith("--timeout=")] or [None]
    if timeout is None:
        return None
    return int(timeout[:-1]) * {"s": 1, "m": 60}[timeout[-1]]


def wait_job(options):
    timeout = read_timeout(options)
    time.sleep(SLOWNESS)
    if timeout is None:
        refuse("timed out waiting for the condition on jobs/ark-bootstrap")
    if not (STATE / "job.log").exists():
        refuse('jobs.batch "ark-bootstrap" not found')


def wait_rollout(name, options):
    until = time.monotonic() + (read_timeout(options) or float("inf"))
    if name == "deployment/ark-front":
        if not (STATE / "front.pid").exists():
            start_front()
        address = f"http://127.0.0.1:{SETTINGS['front_telemetry']}/readyz/relay"
    else:
        address = f"http://127.0.0.1:{SETTINGS['telemetry']}/readyz"
    while time.monotonic() < until:
        with contextlib.suppress(OSError, urllib.error.URLError):
            if urllib.request.urlopen(address).status == 200:
                print(f"{name} successfully rolled out")
                return
        time.sleep(0.1)
    refuse("timed out waiting for the condition")


def copy_bytes(source, target):
    with contextlib.suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def forward_port(port):
    time.sleep(SLOWNESS)
    listener = socket.create_server(("127.0.0.1", port))
    note_event("forwards")
    while True:
        caller, _ = listener.accept()
        host = socket.create_connection(("127.0.0.1", SETTINGS["host"]))
        for source, target in [(caller, host), (host, caller)]:
            threading.Thread(target=copy_bytes, args=(source, target), daemon=True).start()


def run_in_host(words):
    pod = read_pod("statefulset.yaml")
    arguments = [translate_path(pod, word) for word in words]
    done = subprocess.run(
        [SETTINGS["ark"], *arguments], env=host_environment(), cwd=STATE, check=False
    )
    sys.exit(done.returncode)


def run_command(words):
    fails = STATE / "fails"
    if fails.exists() and fails.read_text().strip() == words[0]:
        refuse(f"{words[0]} fails, as the test wants it")
    match words:
        case ["apply", "-k", path]:
            apply_list(path)
        case ["create", "secret", ("generic" | "tls") as kind, name, *options]:
            create_secret(kind, name, options)
        case ["wait", "--for=condition=complete", *options, "job/ark-bootstrap"]:
            wait_job(options)
        case ["logs", "job/ark-bootstrap"]:
            print((STATE / "job.log").read_text(), end="")
        case ["delete", "job", "ark-bootstrap"]:
            (STATE / "job.log").unlink()
            note_event("job deleted")
        case ["rollout", "status", ("statefulset/ark" | "deployment/ark-front") as name, *options]:
            wait_rollout(name, options)
        case ["port-forward", "service/ark-operate", port]:
            forward_port(int(port))
        case ["exec", "ark-0", "--", "ark", *arguments]:
            run_in_host(arguments)
        case ["exec", "ark-repair", "--", "ark", *arguments]:
            run_in_repair(arguments, takes_input=False)
        case ["exec", "-i", "ark-repair", "--", "ark", *arguments]:
            run_in_repair(arguments, takes_input=True)
        case ["scale", "statefulset/ark", ("--replicas=0" | "--replicas=1") as replicas]:
            scale_host(int(replicas[-1]))
        case ["wait", "--for=delete", _, "pod/ark-0"]:
            if (STATE / "host.pid").exists():
                refuse("timed out waiting for the condition on pods/ark-0")
        case ["wait", "--for=condition=Ready", *options, "pod/ark-repair"]:
            wait_repair(options)
        case ["delete", "pod", "ark-repair"]:
            end_program("repair")
            note_event("repair deleted")
        case ["delete", "secret", "ark-secret-key"]:
            delete_secret("ark-secret-key")
        case ["get", "secret", "ark-secret-key", "-o", "jsonpath={.data.secret\\.key}"]:
            print(base64.b64encode(read_secret("ark-secret-key", "secret.key").encode()).decode(), end="")
        case ["set", "image", "statefulset/ark", image]:
            exchange_host(image.removeprefix("ark="))
        case _:
            refuse(f"the guide does not give this command: {words}")


def main():
    words = sys.argv[1:]
    if words[:2] == ["-n", "ark"]:
        words = words[2:]
    elif words[:2] != ["apply", "-k"]:
        # The lists name their namespace; whatever else would be done in the one of the caller.
        refuse(f"without -n ark: {words}")
    run_command(words)


main()
