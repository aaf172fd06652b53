//! Headrope: action.
