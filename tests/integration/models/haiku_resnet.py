"""dm-haiku: hk.nets.ResNet with bottlenecks and batch norm in training mode; slashes in its keys."""

import haiku as hk
import numpy as np

PACKAGE = "dm-haiku"
FRAMEWORK = "haiku"
MODEL = "ResNet (bottlenecks, batch norm)"


def build(width):
    def classify(images):
        net = hk.nets.ResNet(
            (1, 1, 1, 1),
            10,
            channels_per_group=(4 * width, 4 * width, 8 * width, 8 * width),
            initial_conv_config={"output_channels": width},
        )
        return net(images, is_training=True)

    return hk.transform_with_state(classify)


inputs = (np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32),)
OUTPUTS = (2, 10)
