"""A real Slurm of one node with two made-up GPUs, in a folder of its own."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
GresTypes=gpu
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 Gres=gpu:2
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Return why Slurm cannot be started here, or None."""
    absent = [program for program in PROGRAMS if shutil.which(program, path=_path()) is None]
    if absent:
        return f"needs Slurm (apt-get install slurm-wlm munge), found no {', '.join(absent)}"
    return None if os.geteuid() == 0 else "needs root, to start Slurm's daemons"


class Slurm:
    """The running cluster; its commands find it through ``SLURM_CONF``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        config = str(folder / "slurm.conf")
        # Snakemake's plugin hides SLURM_CONF from the srun inside a job, where elsewhere Slurm's
        # configuration is in its usual place.
        srun = folder / "bin" / "srun"
        srun.parent.mkdir()
        srun.write_text(f'#!/bin/sh\nSLURM_CONF={config} exec {shutil.which("srun")} "$@"\n')
        srun.chmod(0o755)
        path = os.pathsep.join([str(srun.parent), _path()])
        self.environment = {"SLURM_CONF": config, "PATH": path}

    def command(self, *words: str) -> str:
        done = subprocess.run(
            words, env=os.environ | self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def jobs(self) -> list[dict[str, str]]:
        """Return what scontrol knows of every job, also of those that ended."""
        lines = self.command("scontrol", "--oneliner", "show", "job").splitlines()
        words = [line.split() for line in lines if line.startswith("JobId=")]
        return [dict(word.split("=", 1) for word in job if "=" in word) for job in words]


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Slurm]:
    """Yield a cluster whose daemons run until the block ends."""
    cluster = Slurm(folder)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    for k in range(2):
        os.mknod(folder / f"gpu{k}", 0o20666, os.makedev(1, 3))  # /dev/null's numbers
    (folder / "gres.conf").write_text(f"Name=gpu File={folder}/gpu[0-1]\n")
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o400)
    config = CONFIG.format(
        host=socket.gethostname().split(".")[0],
        folder=folder,
        controller_port=_free_port(),
        node_port=_free_port(),
    )
    (folder / "slurm.conf").write_text(config)
    files = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munge = [f"--{option}={folder}/munge.{ending}" for option, ending in files.items()]
    conf = ["-D", "-f", str(folder / "slurm.conf")]
    with contextlib.ExitStack() as daemons:
        for words in (
            ["munged", "--foreground", f"--key-file={key}", *munge],
            ["slurmctld", *conf],
            ["slurmd", *conf],
        ):
            daemons.enter_context(_daemon(words, folder, cluster.environment))
        _await_idle(cluster)
        yield cluster
        # Each job has processes of its own, which would outlive the daemons.
        cluster.command("scancel", "--full", "--user=root")


@contextlib.contextmanager
def _daemon(words: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    with open(folder / f"{words[0]}.out", "wb") as output:
        process = subprocess.Popen(
            words, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        time.sleep(0.5)
        assert process.poll() is None, (folder / f"{words[0]}.out").read_text()
        yield
    finally:
        process.terminate()
        process.wait()


def _await_idle(cluster: Slurm) -> None:
    state = ""
    for _ in range(60):
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"],
            env=os.environ | cluster.environment,
            capture_output=True,
            text=True,
        )
        state = done.stdout.strip()
        if state == "idle":
            return
        time.sleep(0.5)
    logs = "\n".join(path.read_text()[-2000:] for path in cluster.folder.glob("slurm*.log"))
    raise AssertionError(f"the node is {state!r} after 30 s\n{logs}")


def _path() -> str:
    # Daemons are in /usr/sbin, which not every user's PATH has.
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
