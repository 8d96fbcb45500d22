"""Names of JAX's operations, by what the walk does with them."""

from __future__ import annotations


def names(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


# A linear function of their one operand; of each, where there are several.
LINEAR = names(
    "complex conj convert_element_type copy copy_p cumsum device_put imag layout_constraint mesh_cast "
    "name neg pbroadcast pcast pin ppermute preduced psum psum2 psum_invariant pvary real "
    "reduce_precision reduced_vary_cast reduced_vary_cast_p relayout reshard rev sharding_constraint "
    "stop_gradient unpin unreduced_psum vary_unreduced_cast vary_unreduced_cast_p "
    "with_memory_space_constraint "
)
ADDITIVE = names("add sub add_any")
PRODUCTS = names("mul div")
# Elementwise, but not linear.
OTHER = names(
    "abs acos acosh and asin asinh atan atan2 atanh bessel_i0e bessel_i1e cbrt ceil clamp clz cos cosh "
    "cumlogsumexp cummax cummin cumprod digamma eq erf erf_inv erfc exp exp2 expm1 floor ge gt igamma "
    "igammac integer_pow is_finite le lgamma log log1p log2 logistic lt max min mulhi ne nextafter not "
    "one_minus_square or pmax pmin polygamma polynomial population_count pow reciprocal "
    "regularized_incomplete_beta rem round rsqrt select_n shift_left shift_right_arithmetic "
    "shift_right_logical sign sin sinh sqrt square tan tanh xor zeta "
)
ELEMENTWISE = LINEAR | ADDITIVE | PRODUCTS | OTHER
REDUCTIONS = names("reduce_max reduce_min reduce_prod reduce_and reduce_or reduce_xor argmax argmin")
# Over devices they keep every axis; over a vmap's named axis they reduce it.
COLLECTIVES = {"psum": "reduce_sum", "pmax": "reduce_max", "pmin": "reduce_min"}
# Their body stands for them.
CALLS = names(
    "jit pjit closed_call core_call call remat remat2 checkpoint custom_jvp_call custom_vjp_call "
    "custom_vjp_call_jaxpr shard_map named_call noinline composite xla_metadata_call"
)
# What they read is not among their operands.
MUTABLE = names("get swap addupdate masked_load masked_swap accum_grad_in_ref freeze free_ref")
# Take their shards' axis from one device to all.
GATHERS = names("all_gather all_gather_invariant all_gather_reduced")
