//! A disk that may not be written any more. Not responsible for one without room.

use super::mount::{self, Mount};
use super::place::{Place, secret};
use crate::common::eventually;
use std::path::Path;

#[test]
fn read_only_disk_refuses_writes_and_takes_them_again_when_it_can() {
    let images = tempfile::tempdir().expect("a directory");
    let (image, copy) = (images.path().join("image"), images.path().join("copy"));
    let Some(disk) = mount::image(&image).and_then(|()| Mount::image(&image)) else { return };
    let secret = secret();
    let mut place = Place::at(&secret, disk.path().join("data"));
    place.start(&[]);
    (0..50).for_each(|number| assert_eq!(place.client().put(&format!("k{number}"), "before").status, 201));
    // As after an error of the device: a plain remount is refused while a file is open for writing.
    disk.remount("abort");
    eventually("the disk is read-only", || std::fs::write(disk.path().join("probe"), "").is_err());

    let refused = place.client().put("k0", "refused");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(matches!(refused.error().as_str(), "read_only" | "not_durable"), "{}", refused.text());
    let again = place.client().put("k0", "refused");
    assert_eq!((again.status, again.error().as_str()), (503, "read_only"));
    for said in [refused.text(), again.text()] {
        assert!(said.contains("the disk is read-only") && said.contains("make it writable"), "{said}");
        assert!(said.contains(disk.path().to_str().expect("UTF-8")), "{said}");
    }
    assert_eq!(place.client().value("k0").as_deref(), Some(&b"before"[..]));
    let mut other = Place::in_memory(&secret);
    other.start(&[place.quic()]);
    eventually("sync outwards goes on", || (0..50).all(|number| other.client().value(&format!("k{number}")).is_some()));
    other.end();

    // What an administrator does: the disk is repaired, and mounted again where it was.
    std::fs::copy(&image, &copy).expect("copied");
    disk.replace(&copy);
    eventually("writing goes on", || place.client().put("k0", "after").status == 204);
    place.kill();
    place.start(&[]);
    assert_eq!(place.client().value("k0").as_deref(), Some(&b"after"[..]));
    (1..50).for_each(|number| assert!(place.client().value(&format!("k{number}")).is_some()));
}

#[test]
fn read_only_disk_at_the_start_is_told_and_nothing_changes() {
    let Some(disk) = Mount::tmpfs(16 << 20) else { return };
    let secret = secret();
    let mut place = Place::at(&secret, disk.path().join("data"));
    place.start(&[]);
    assert_eq!(place.client().put("kettle", "on").status, 201);
    place.kill();
    let before = files(place.data());
    disk.remount("ro");
    let mut fresh = Place::at(&secret, disk.path().join("fresh"));
    for place in [&mut place, &mut fresh] {
        assert_eq!(place.try_start(&[]), Err(Some(1)), "{}", place.stderr());
        let said = place.stderr();
        assert!(said.contains(place.data().to_str().expect("UTF-8")), "{said}");
        assert!(said.contains("--data-dir") && said.contains("make it writable"), "{said}");
    }
    assert!(files(place.data()) == before, "something has changed");
    disk.remount("rw");
    place.start(&[]);
    assert_eq!(place.client().value("kettle").as_deref(), Some(&b"on"[..]));
}

/// All files below, with what is in them.
fn files(directory: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).expect("a file");
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}
