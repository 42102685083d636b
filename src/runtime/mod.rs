//! Layer 3: the async shell, the only place with sockets, files and real clocks. Not responsible for any rule of the
//! map or of its protocol.

pub mod net;
