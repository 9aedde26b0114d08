//! From quantized ONNX models to models for microcontrollers.
