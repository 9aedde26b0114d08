//! Which failures are the device's and which are the model's. A device that fails says nothing of the model; a kernel that cannot take
//! what the model asks for does.

use tract_onnx::prelude::TractError;

use crate::engine::RunFailure;

/// Words of the driver, its libraries and tract-cuda for what no model brings about. Memory is among them: others may hold it, and which of
/// the two it was cannot be told. An illegal access or an operation that a library does not support is not: that is how a kernel fails.
const DEVICE: [&str; 20] = [
    "CUDA_ERROR_OUT_OF_MEMORY",
    "CUDA_ERROR_NO_DEVICE",
    "CUDA_ERROR_DEVICE_UNAVAILABLE",
    "CUDA_ERROR_DEVICE_NOT_LICENSED",
    "CUDA_ERROR_ECC_UNCORRECTABLE",
    "CUDA_ERROR_NVLINK_UNCORRECTABLE",
    "CUDA_ERROR_HARDWARE_STACK_ERROR",
    "CUDA_ERROR_SYSTEM_NOT_READY",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
    "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE",
    "CUDA_ERROR_NOT_INITIALIZED",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_NOT_INITIALIZED",
    "NVRTC",
    "Unable to dynamically load",
    "could not be dlopen'd",
    "No CUDA toolkit root found",
    "headers not found",
];

/// Is this failure the device's doing, or that of what it is run with?
pub(super) fn of_the_device(reason: &str) -> bool {
    DEVICE.iter().any(|sign| reason.contains(sign))
}

/// A failed run, told as the device's where it is.
pub(super) fn sorted(failure: RunFailure) -> RunFailure {
    match failure {
        RunFailure::Engine { reason } | RunFailure::Panicked { reason } if of_the_device(&reason) => {
            RunFailure::Device { reason }
        }
        other => other,
    }
}

/// An error of what should not be.
pub(super) fn internal(text: &'static str) -> TractError {
    TractError::msg(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_fails_is_told_from_a_kernel_that_does() {
        let failed = |reason: &str| sorted(RunFailure::Panicked { reason: reason.into() });
        for reason in [
            "called `Result::unwrap()` on an `Err` value: DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            "NVRTC compilation failed for Cnn: cuda_fp16.h: no such file",
        ] {
            assert_eq!(failed(reason), RunFailure::Device { reason: reason.into() });
        }
        for reason in
            ["DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, ..)", "CUDNN_STATUS_NOT_SUPPORTED", "index out of bounds"]
        {
            assert_eq!(failed(reason), RunFailure::Panicked { reason: reason.into() });
        }
    }
}
