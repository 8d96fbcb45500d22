import pytest

from mupwd.proxy.config import ProxyConfig, TrainConfig, unknown_names


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layers": 0}, "layers must be a positive integer, got 0"),
        ({"layers": 2.0}, "layers must be a positive integer, got 2.0"),
        ({"layers": True}, "layers must be a positive integer, got True"),
        ({"head_dim": 15}, "head_dim must be even"),
        ({"kv_heads": 1, "kv_groups": 2}, "kv_heads=1 and kv_groups=2 are both given"),
        ({"kv_heads": 0}, "kv_heads must be a positive integer"),
        ({"mlp_ratio": float("nan")}, "mlp_ratio must be a finite number above 0, got nan"),
        ({"qk_norm": 1}, "qk_norm must be True or False, got 1"),
        ({"dtype": "float16"}, "dtype must be one of 'float32', 'bfloat16'; got 'float16'"),
    ],
)
def test_proxy_config_refuses(fields, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        ProxyConfig(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "steps must be a positive integer, got 0"),
        ({"steps": 10, "warmup": 10}, "warmup must be at least 0 and less than steps=10, got 10"),
        ({"schedule": "linear"}, "schedule must be one of 'cosine', 'wsd'; got 'linear'"),
        ({"schedule": "wsd", "steps": 100, "warmup": 60, "decay_fraction": 0.5}, "overlap"),
        ({"final_fraction": 1.5}, "final_fraction must be between 0 and 1, got 1.5"),
        ({"clip": 0.0}, "clip must be a finite number above 0, got 0.0"),
        ({"beta2": 1.0}, "beta2 must be at least 0 and less than 1, got 1.0"),
        ({"decay": "decoupled"}, "decay must be one of 'coupled', 'independent'; got 'decoupled'"),
        ({"eval_every": 0}, "eval_every must be a positive integer, got 0"),
        ({"stop_at": 0}, "stop_at must be a positive integer, got 0"),
        ({"steps": 100, "stop_at": 101}, "stop_at must be at most steps=100, got 101"),
    ],
)
def test_train_config_refuses(fields, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**fields)


@pytest.mark.parametrize(
    ("config", "width", "message"),
    [
        (ProxyConfig(), 40, "width must be a positive multiple of head_dim=16, got 40"),
        (ProxyConfig(), 0, "width must be a positive multiple of head_dim=16, got 0"),
        (ProxyConfig(kv_groups=2), 48, "use a multiple of width 32"),
        (ProxyConfig(kv_heads=4), 96, "kv_heads=4 does not divide; use a multiple of width 64"),
    ],
)
def test_width_that_does_not_fit_the_heads(config, width, message):
    with pytest.raises(ValueError, match=message):
        config.key_value_heads(width)


def test_heads_and_hidden_size():
    assert [ProxyConfig().heads(width) for width in (32, 128)] == [2, 8]
    assert [ProxyConfig(kv_groups=2).key_value_heads(width) for width in (32, 128)] == [1, 4]
    assert [ProxyConfig(kv_heads=2).key_value_heads(width) for width in (32, 128)] == [2, 2]
    assert [ProxyConfig().hidden(width) for width in (32, 64, 128)] == [96, 192, 384]
    assert ProxyConfig(mlp_ratio=8 / 3).hidden(32) == 88


def test_unknown_names_are_all_named_with_the_nearest_ones():
    message = unknown_names(["learning_rat", "zzz"], ["learning_rate", "steps"], "hyperparameter")
    assert message == (
        "unknown hyperparameter 'learning_rat'; did you mean 'learning_rate'?\n"
        "unknown hyperparameter 'zzz'; known: learning_rate, steps"
    )
    assert unknown_names(["steps"], ["steps"], "hyperparameter") is None
