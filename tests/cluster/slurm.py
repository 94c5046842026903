"""A real Slurm of one node with two made-up GPUs, in a folder of its own.

A second node, which has none, is known and never there.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
PATIENCE = 1200  # seconds; a busy machine takes its time, and only what hangs ends a wait
# A requeued job starts no earlier than its credential expires; every other time is long, for busy
# machines, and ended jobs stay known until the tests have looked at them.
CONFIG = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=15
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
MinJobAge=86400
MessageTimeout=100
BatchStartTimeout=600
KillWait=120
UnkillableStepTimeout=600
SlurmdTimeout=0
GresTypes=gpu
SchedulerParameters=sched_interval=2,bf_interval=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 RealMemory=64000 Gres=gpu:2
NodeName=other NodeAddr=127.0.0.2 CPUs=8 RealMemory=64000 State=DOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=without_gpus Nodes=other MaxTime=INFINITE State=UP
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
        # Jobs lock their GPUs in the folder of temporary files, by numbers that another cluster on
        # this machine gives too.
        temporary = folder / "tmp"
        temporary.mkdir()
        self.environment = {"SLURM_CONF": config, "PATH": path, "TMPDIR": str(temporary)}

    def command(self, *words: str) -> str:
        done = self._run(words)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def says(self, *words: str) -> str:
        """Return what a command prints, whether or not it fails."""
        return self._run(words).stdout

    def _run(self, words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            words, env=os.environ | self.environment, capture_output=True, text=True
        )

    def jobs(self) -> list[dict[str, str]]:
        """Return what scontrol knows of every job, also of those that ended."""
        lines = self.command("scontrol", "--oneliner", "show", "job").splitlines()
        words = [line.split() for line in lines if line.startswith("JobId=")]
        return [dict(word.split("=", 1) for word in job if "=" in word) for job in words]

    def cancel_all(self) -> None:
        """Cancel every job, and return when the processes of all have ended."""
        self.command("scancel", "--full", "--user=root")
        wait_until(lambda: not self.command("squeue", "--noheader"), "an empty queue")


def wait_until(done: Callable[[], bool], what: str) -> None:
    """Return as soon as something is done; fail if it never is."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.2)


@contextlib.contextmanager
def started(folder: Path) -> Iterator[Slurm]:
    """Yield a cluster whose daemons run until the block ends."""
    cluster = Slurm(folder)
    for name in ("state", "spool"):
        (folder / name).mkdir()
    for k in range(2):
        (folder / f"gpu{k}").symlink_to("/dev/null")
    # Nothing here uses cgroups; slurmd would look which kind there is, and there may be none.
    (folder / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")
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
        for words, ready in (
            (
                ["munged", "--foreground", f"--key-file={key}", *munge],
                (folder / "munge.socket").exists,
            ),
            (["slurmctld", *conf], lambda: "is UP" in cluster.says("scontrol", "ping")),
            (["slurmd", *conf], lambda: "idle" in cluster.says("sinfo", "-h", "-o", "%T")),
        ):
            daemons.enter_context(_daemon(words, ready, folder, cluster.environment))
        try:
            yield cluster
        finally:
            # Each job has processes of its own, which would outlive the daemons.
            cluster.cancel_all()


@contextlib.contextmanager
def _daemon(
    words: list[str], ready: Callable[[], bool], folder: Path, environment: dict[str, str]
) -> Iterator[None]:
    said = folder / f"{words[0]}.out"
    with open(said, "wb") as output:
        process = subprocess.Popen(
            words, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT
        )

    def is_ready() -> bool:
        assert process.poll() is None, said.read_text()
        return ready()

    try:
        wait_until(is_ready, f"{words[0]} that is ready")
        yield
    finally:
        process.terminate()
        process.wait()


def _path() -> str:
    # Daemons are in /usr/sbin, which not every user's PATH has.
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
