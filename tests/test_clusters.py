"""The examples for clusters: their syntax, and their own commands run as two nodes of one process each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from server_process import free_port

from cxr.dataset.set_faults import find_faults

ROOT = Path(__file__).parents[1]
SLURM, KUBERNETES = ROOT / "docs" / "cluster" / "slurm.sh", ROOT / "docs" / "cluster" / "kubernetes.yaml"
# What Slurm's own srun does, on as many nodes as there are: it starts the command once on each.
SRUN = """#!/bin/bash
for node in 0 1; do SLURM_NODEID=$node "$@" & jobs+=($!); done
wait "${jobs[0]}" && wait "${jobs[1]}"
"""
SCONTROL = '#!/bin/bash\n[ "$*" = "show hostnames somewhere[1-2]" ] && printf "127.0.0.1\\nother\\n"\n'


def kubernetes() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(KUBERNETES.read_text(encoding="utf-8")))


@pytest.fixture(name="environment")
def _environment(tiny_model_dir: Path, tmp_path: Path) -> dict[str, str]:
    plan = tmp_path / "plan.yaml"
    plan.write_text("cohort: [{findings: [Effusion, Mass], count: 40}]\nsettings: {num_inference_steps: 1}\n")
    path = f"{tmp_path / 'bin'}{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    given = {"PLAN": str(plan), "OUTPUT": str(tmp_path / "set"), "PROCESSES": "1", "HEAD": "127.0.0.1"}
    rest = {"CXR_MODEL": str(tiny_model_dir), "CXR_ADAPTER": "none", "PORT": str(free_port()), "PATH": path}
    return os.environ | given | rest


def test_slurm_reads_the_script() -> None:
    bash = shutil.which("bash")
    assert bash is not None
    assert subprocess.run([bash, "-n", str(SLURM)], check=False).returncode == 0
    options = [line for line in SLURM.read_text(encoding="utf-8").splitlines() if line.startswith("#SBATCH ")]
    assert {"#SBATCH --nodes=2", "#SBATCH --ntasks-per-node=1", "#SBATCH --requeue"} <= set(options)


def test_kubernetes_has_as_many_pods_as_the_command_says() -> None:
    service, job = kubernetes()
    assert (service["kind"], service["spec"]["clusterIP"], job["kind"]) == ("Service", "None", "Job")
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    values = {row["name"]: row["value"] for row in container["env"]}
    assert spec["completionMode"] == "Indexed"
    assert str(spec["completions"]) == str(spec["parallelism"]) == values["NODES"]
    # Pod 0 of an indexed Job has this name where its service is the pod's subdomain.
    assert values["HEAD"] == f"{job['metadata']['name']}-0.{pod['subdomain']}"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    (volume,) = pod["volumes"]
    (mount,) = container["volumeMounts"]
    assert volume["name"] == mount["name"]
    assert values["PLAN"].startswith(f"{mount['mountPath']}/")
    assert values["OUTPUT"].startswith(f"{mount['mountPath']}/")


@pytest.mark.slow
def test_the_command_of_the_pods_makes_one_data_set(environment: dict[str, str]) -> None:
    command = kubernetes()[1]["spec"]["template"]["spec"]["containers"][0]["command"]
    pods = [
        subprocess.Popen(command, cwd=ROOT, env=environment | {"NODES": "2", "JOB_COMPLETION_INDEX": str(index)})
        for index in range(2)
    ]
    assert [pod.wait(300) for pod in pods] == [0, 0]
    images, faults = find_faults(Path(environment["OUTPUT"]))
    assert (len(images), faults) == (80, [])  # 40 of each finding


@pytest.mark.slow
def test_the_script_of_slurm_makes_one_data_set(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for name, content in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / "bin" / name).write_text(content, encoding="utf-8")
        (tmp_path / "bin" / name).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "somewhere[1-2]", "SLURM_NNODES": "2"}
    assert subprocess.run(["bash", str(SLURM)], cwd=ROOT, env=environment | slurm, check=False).returncode == 0
    images, faults = find_faults(Path(environment["OUTPUT"]))
    assert (len(images), faults) == (80, [])  # 40 of each finding
