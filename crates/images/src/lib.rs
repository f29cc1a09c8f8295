//! The manifest graph of images in a content store, and the archives they travel in.
