"""Two processes that train one model together: recording each of them changes neither."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_transparency import same

import gradlens

SCRIPT = """
import sys, torch, torch.distributed as dist
import gradlens
from gradlens import every, never
from torch import nn
rank, root = int(sys.argv[1]), sys.argv[2]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"file://{root}.meeting", rank=rank, world_size=2)

def train(recorded):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 3))
    ddp = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(ddp.parameters(), lr=0.01)
    torch.manual_seed(rank)
    options = {"update": every(1), "smoothness": never, "enabled": recorded}
    recorder = gradlens.Recorder(ddp, optimizer, root, name=f"rank {rank}", **options)
    data = torch.Generator().manual_seed(rank)
    losses = []
    for step in range(12):
        x, y = torch.randn(8, 4, generator=data), torch.randint(3, (8,), generator=data)
        optimizer.zero_grad()
        loss = recorder.loss(lambda x, y: nn.functional.cross_entropy(ddp(x), y), x, y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    norm = float(torch.stack([p.grad.double().norm() for p in model.parameters()]).norm())
    recorder.close()
    return [losses, model.state_dict(), optimizer.state_dict(), torch.get_rng_state(), norm]

torch.save([train(recorded=False), train(recorded=True)], f"{root}-{rank}.pt")
dist.destroy_process_group()
"""


def train(root: Path) -> list[tuple[list[object], ...]]:
    """What the two ranks come to without recorders, and with them."""
    ranks = [subprocess.Popen([sys.executable, "-W", "ignore", "-c", SCRIPT, str(r), str(root)]) for r in range(2)]
    assert [process.wait(120) for process in ranks] == [0, 0]
    return list(zip(*(torch.load(f"{root}-{rank}.pt") for rank in range(2)), strict=True))


def test_two_ranks_train_the_same_with_and_without_recorders(tmp_path: Path) -> None:
    bare, recorded = train(tmp_path / "recorded")
    assert same(bare, recorded)
    runs = {run.name: run for run in gradlens.open_runs(tmp_path / "recorded")}
    assert sorted(runs) == ["rank 0", "rank 1"]
    for rank, state in enumerate(recorded):
        run = runs[f"rank {rank}"]
        assert run.series("loss")[1].tolist() == state[0]
        assert run.series("grad_norm")[1][-1] == pytest.approx(state[4], rel=1e-6)
    # The gradient is the all-reduced one: both ranks step by the same.
    assert runs["rank 0"].series("grad_norm")[1].tolist() == runs["rank 1"].series("grad_norm")[1].tolist()
    assert runs["rank 0"].series("loss")[1].tolist() != runs["rank 1"].series("loss")[1].tolist()
