"""mupwd: learning rates and weight decays that transfer across width, for JAX and optax."""
