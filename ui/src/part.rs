//! Parts that several pages use.

pub(crate) mod ask;
pub(crate) mod attributes;
pub(crate) mod badge;
pub(crate) mod copy;
pub(crate) mod editor;
pub(crate) mod icon;
pub(crate) mod meter;
pub(crate) mod state;
pub(crate) mod windowed;
