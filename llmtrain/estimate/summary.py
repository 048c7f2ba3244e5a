"""Needs held against a machine, as plain data: what --json prints and the table shows. Bytes, operations, seconds."""

from typing import Any

from llmtrain.estimate.machine import Machine
from llmtrain.estimate.needs import PROCESS, Needs


def summary(needs: Needs, machine: Machine) -> dict[str, Any]:
    """All that is known of a stage. On a CPU the processes share memory and speed; a GPU is a process's own."""
    cpu, processes = machine.device == "cpu", needs.processes
    memory = total(needs, machine, needs.peak)
    speed = (machine.flops, machine.bandwidth) if cpu else (machine.flops * processes, machine.bandwidth * processes)
    work = needs.work
    return {
        "command": needs.command,
        "models": [_model(needs, number) for number in range(len(needs.models))],
        "layout": {"device": machine.device, "processes": processes, "micro_batches": needs.batches},
        "memory": {
            "phases": needs.phases,
            "process": PROCESS if cpu else 0,
            "peak": needs.peak,
            "needed": memory,
            "available": machine.memory,
            "fits": memory <= machine.memory,
        },
        "disk": {
            "checkpoint": needs.checkpoint,
            "kept": needs.kept,
            "needed": needs.disk,
            "available": machine.disk,
            "fits": needs.disk <= machine.disk,
        },
        "step": {"tokens": needs.tokens, "flops": needs.step.flops, "seconds": needs.step.seconds(*speed)},
        "run": {
            "steps": needs.steps,
            "evaluations": needs.evaluations if needs.steps else None,
            "tokens": needs.steps and needs.tokens * needs.steps,
            "flops": work and work.flops,
            "seconds": work and work.seconds(*speed),
        },
        "machine": {"flops": machine.flops, "bandwidth": machine.bandwidth},
        "notes": list(needs.notes),
    }


def total(needs: Needs, machine: Machine, peak: int) -> int:
    """Bytes of one device whose processes come to `peak`: on a CPU all of them and what each is made of."""
    return (peak + PROCESS) * needs.processes if machine.device == "cpu" else peak


def _model(needs: Needs, number: int) -> dict[str, Any]:
    model = needs.models[number]
    return {"role": model.role, "parameters": model.shape.parameters, **model.bytes(needs.narrow)}
