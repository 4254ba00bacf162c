"""Where an instance runs, and with which engine. No GPU is needed."""

from __future__ import annotations

import pytest
from placement import Device, device_of, engine_for, visible_gpus

CPU, GPU = Device(threads=2), Device(threads=2, gpu=1)


def test_instances_on_the_cpu_share_its_cores() -> None:
    assert device_of("CPU", "0", instances=2, cores=8) == Device(threads=4)
    assert device_of("CPU", "0", instances=9, cores=8) == Device(threads=1)


def test_an_instance_on_a_gpu_knows_which() -> None:
    assert device_of("GPU", "1", instances=4, cores=8) == Device(threads=8, gpu=1)


@pytest.mark.parametrize(
    ("setting", "device", "proven", "engine"),
    [
        ("auto", GPU, "openvino", "tensorflow"),
        ("auto", CPU, "openvino", "openvino"),
        ("auto", CPU, "tensorflow", "tensorflow"),
        ("auto", CPU, None, "auto"),
        ("openvino", GPU, "tensorflow", "openvino"),
        ("tensorflow", CPU, "openvino", "tensorflow"),
    ],
)
def test_engine_depends_on_setting_device_and_build(
    setting: str, device: Device, proven: str | None, engine: str
) -> None:
    assert engine_for(setting, device, proven) == engine


@pytest.mark.parametrize(
    ("inherited", "device", "visible"),
    [
        (None, GPU, "1"),
        ("", GPU, "1"),
        ("4,6", GPU, "6"),
        ("GPU-abc, GPU-def", GPU, "GPU-def"),
        ("4,6", CPU, "-1"),
        (None, CPU, "-1"),
    ],
)
def test_a_process_sees_its_own_gpu_or_none(inherited: str | None, device: Device, visible: str) -> None:
    assert visible_gpus(inherited, device) == visible
