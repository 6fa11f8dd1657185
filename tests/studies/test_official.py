"""Official: our networks with official weights give the official networks' numbers."""

import json
import zlib

import numpy as np
import pytest
import torch

from geneface_kit.adaptation.postnet import project_onto_neighbours
from notebooks.studies import official
from notebooks.studies.official.__main__ import main

SEED = 20230131
TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}
"""Two float32 implementations of the same sums differ by 2.5e-5 at most (golden/README.md)."""


def rule_tensor(name: str, shape: list[int]) -> torch.Tensor:
    """A tensor by the rule of tests/golden/README.md for the motion networks."""
    if name.endswith("num_batches_tracked"):
        return torch.tensor(0)
    a = np.random.default_rng(zlib.crc32(name.encode()) + SEED).standard_normal(shape)
    if name.endswith("running_var") or name.endswith("weight_g"):
        a = 1 + 0.1 * np.abs(a)
    elif name.endswith("running_mean"):
        a = 0.1 * a
    elif name.endswith(".weight") and len(shape) == 1:
        a = 1 + 0.1 * a
    elif len(shape) >= 2:
        a = a / np.sqrt(np.prod(shape[1:]))
    else:
        a = 0.1 * a
    return torch.from_numpy(a.astype(np.float32))


@pytest.fixture(scope="module")
def layouts(golden):
    return json.loads((golden / "layouts.json").read_text())


@pytest.fixture(scope="module")
def arrays(golden):
    with np.load(golden / "motion.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


@pytest.fixture(scope="module")
def states(layouts):
    return {
        network: {name: rule_tensor(name, shape) for name, shape in layouts[network].items()}
        for network in official.NETWORKS
    }


@torch.no_grad()
def test_vae_agrees(states, arrays):
    vae = official.from_official("vae", states["vae"])
    speech, motion = arrays["vae.hubert"], arrays["vae.y"]
    mask = torch.ones(motion.shape[:2], dtype=torch.bool)
    condition, slow = vae.condition(speech, torch.zeros(speech.shape[:2]))
    ones = torch.ones(len(slow), 1, slow.shape[2])
    mean, log_std = vae.posterior(motion.transpose(1, 2), ones, slow).chunk(2, dim=1)
    noise = arrays["vae.z_p"]
    ours = {
        "vae.cond": condition.transpose(1, 2),
        "vae.g_sqz": slow,
        "vae.m_q": mean,
        "vae.logs_q": log_std,
        "vae.flow(m_q)": vae.flow(mean, ones, slow),
        "vae.decode(m_q)": vae.decode(mean, mask, condition),
        "vae.flow_inverse(z_p)": vae.flow.inverse(noise, ones, slow),
        "vae.sample(z_p)": vae.sample(speech, torch.zeros(speech.shape[:2]), noise),
    }
    for name, value in ours.items():
        torch.testing.assert_close(
            value, arrays[name], **TOLERANCE, msg=lambda m, n=name: f"{n}: {m}"
        )


@torch.no_grad()
def test_pitch_vae_agrees(states, arrays):
    vae = official.from_official("vae_pitch", states["vae_pitch"])
    speech, f0 = arrays["vae.hubert"], arrays["vae_pitch.f0"]
    condition, _ = vae.condition(speech, f0)
    torch.testing.assert_close(condition.transpose(1, 2), arrays["vae_pitch.cond"], **TOLERANCE)
    sampled = vae.sample(speech, f0, arrays["vae.z_p"])
    torch.testing.assert_close(sampled, arrays["vae_pitch.sample(z_p)"], **TOLERANCE)


@torch.no_grad()
def test_sync_expert_agrees(states, arrays):
    expert = official.from_official("syncnet", states["syncnet"])
    lips = arrays["vae.y"].reshape(2, 48, 68, 3)[:, :5, 48:].flatten(2)
    speech = arrays["vae.hubert"][:, :10]
    torch.testing.assert_close(expert.embed_speech(speech), arrays["syncnet.audio"], **TOLERANCE)
    torch.testing.assert_close(expert.embed_mouth(lips), arrays["syncnet.mouth"], **TOLERANCE)
    torch.testing.assert_close(expert(speech, lips), arrays["syncnet.cosine"], **TOLERANCE)


@torch.no_grad()
def test_postnet_and_discriminator_agree(states, arrays):
    postnet = official.from_official("postnet", states["postnet"])
    torch.testing.assert_close(postnet(arrays["vae.y"]), arrays["postnet.out"], **TOLERANCE)
    network = official.from_official("discriminator", states["discriminator"])
    scores = network(arrays["vae.y"].flatten(0, 1))
    torch.testing.assert_close(scores, arrays["discriminator.out"], **TOLERANCE)


def test_neighbour_projection_agrees(arrays):
    projected = project_onto_neighbours(
        arrays["vae.y"][0].double(), arrays["lle.database"].double()
    )
    torch.testing.assert_close(projected.float(), arrays["lle.out"], **TOLERANCE)


@pytest.mark.parametrize("network", official.NETWORKS)
def test_names_go_there_and_back(states, layouts, network):
    back = official.to_official(network, official.from_official(network, states[network]))
    assert back.keys() == layouts[network].keys()
    assert all(torch.equal(back[name], states[network][name]) for name in back)


def discriminator_state() -> dict[str, torch.Tensor]:
    return official.to_official("discriminator", official.NETWORKS["discriminator"].build())


def test_checkpoint_file_is_read(tmp_path):
    state = discriminator_state()
    path = tmp_path / "model_ckpt_steps_1.ckpt"
    torch.save({"state_dict": {"disc_model": state}, "global_step": 1}, path)
    network = official.load_official(path, "discriminator")
    torch.testing.assert_close(official.to_official("discriminator", network), state)
    with pytest.raises(ValueError, match="no state_dict with a child 'model'"):
        official.load_official(path, "vae")


def test_the_command_says_what_fits(tmp_path, capsys):
    path = tmp_path / "model_ckpt_steps_1.ckpt"
    torch.save({"state_dict": {"disc_model": discriminator_state()}}, path)
    assert main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "discriminator: fits, 158,080 parameters of Discriminator" in lines
    assert len(lines) == 7 and sum("does not fit" in line for line in lines) == 6
    assert main([str(tmp_path / "absent.ckpt")]) == 2
    assert "no checkpoint at" in capsys.readouterr().err


class Dangerous:
    def __reduce__(self):
        return (print, ("executed",))


def test_code_in_a_checkpoint_is_refused(tmp_path, capsys):
    path = tmp_path / "evil.ckpt"
    torch.save({"state_dict": {"disc_model": discriminator_state()}, "extra": Dangerous()}, path)
    with pytest.raises(ValueError, match="refused"):
        official.load_official(path, "discriminator")
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="refused"):
        official.load_official(path, "discriminator")
    assert "executed" not in capsys.readouterr().out


def test_foreign_tensors_are_refused():
    state = discriminator_state()
    state["backbone.0.weight"] = torch.zeros(3, 3)
    with pytest.raises(ValueError, match="another shape"):
        official.from_official("discriminator", state)
    with pytest.raises(ValueError, match="network must be one of"):
        official.from_official("resnet", state)
