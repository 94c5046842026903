"""What a job made, kept by second names until it has made something else.

Snakemake deletes outputs before their job begins anew, and a change may be taken back.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from dansm.errors import InputError
from dansm.io.files import publish, read_model, sha256, write_text

_FOLDER = "encoding/.kept"  # by rule and name of the job
_NOTE = "record.json"


class _Note(BaseModel):
    made_of: dict[str, Any]
    files: dict[str, tuple[str, int]]  # SHA-256 and size of each, by name below the results


class Kept(NamedTuple):
    """What a job keeps.

    Attributes
    ----------
    results, folder
        The results folder, and where second names are.
    outputs
        Names below the former.
    made_of
        By which a job is this very one: its outputs, parameters and inputs.
    """

    results: Path
    folder: Path
    outputs: list[str]
    made_of: dict[str, Any]

    @classmethod
    def of(cls, results: Path, rule: str, name: str, outputs: list[str], **others: Any) -> "Kept":
        """Return what the job keeps; ``others`` than its outputs are parameters and inputs."""
        return cls(results, results / _FOLDER / rule / name, outputs, {"outputs": outputs} | others)

    def give_back(self) -> bool:
        """Give what this very job made before its names again, if it is kept, and tell whether.

        What another made stays until this one is finished, if the disk has room for as much again.
        """
        if not self.folder.exists():
            return False
        try:
            note = read_model(self.folder / _NOTE, _Note)
            if note.made_of == self.made_of:
                for name, (digest, _) in note.files.items():
                    publish(self.folder / name, self.results / name)
                    if sha256(self.results / name) != digest:
                        raise InputError(f"{self.folder / name}: changed since its job made it")
                anew = "delete that to have it made anew"
                print(f"made before, kept in {self.folder}; {anew}", flush=True)
                return True
        except (InputError, OSError) as error:
            print(f"{error}; it is made again", flush=True)
            for output in self.outputs:
                shutil.rmtree(self.results / output, ignore_errors=True)
        else:
            size = sum(size for _, size in note.files.values())
            other = f"what was made before of something else, {size / 2**30:.2f} GiB"
            if shutil.disk_usage(self.folder).free > size:
                print(f"{self.folder}: {other}, is kept until this is finished", flush=True)
                return False
            print(f"{self.folder}: {other}, is deleted: as much again is not free", flush=True)
        shutil.rmtree(self.folder)
        return False

    def keep(self, files: Mapping[str, tuple[str, int]]) -> None:
        """Give what was made a second name, in place of what was kept; never copy it.

        Parameters
        ----------
        files
            SHA-256 and size of each, by name below the results folder.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        try:
            for name in files:
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.link(self.results / name, self.folder / name)
            note = _Note(made_of=self.made_of, files=dict(files))
            write_text(self.folder / _NOTE, note.model_dump_json(indent=1))
        except OSError as error:  # such as a file system without links
            shutil.rmtree(self.folder, ignore_errors=True)
            print(f"{self.folder}: not kept ({error.strerror})", flush=True)
