//! Headrope: agent.
