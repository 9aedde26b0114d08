//! Messages, frames and limits of the boardproof protocol. no_std, no allocation, no unsafe.
