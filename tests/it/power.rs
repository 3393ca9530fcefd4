//! Power cuts under load: what was acknowledged is on the disk, and goes on from there.
//!
//! `tests/power` runs this as root and clears up after it. The disk is an ext4 file system in a file, on a loop device:
//! what the kernel has not written to the device when the power goes is not in the file.

#![expect(clippy::unwrap_used, reason = "a helper that panics still says where")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::app::{App, PATIENCE, Random};
use crate::load::Load;

/// Of the disk; only what is written takes room.
const BYTES: u64 = 1024 * 1024 * 1024;
/// Forgets all that is not on the device, and fails from then on. `_IOR('X', 125, __u32)`; 2 is NOLOGFLUSH.
const SHUTDOWN: &str = "import fcntl, os, struct, sys\n\
                        fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

#[derive(Clone, Copy, PartialEq)]
enum Cut {
    Image,
    Shutdown,
}

#[test]
#[ignore = "mounts file systems: tests/power runs it"]
fn what_was_acknowledged_outlives_the_power() {
    let work = PathBuf::from(std::env::var("MILLSTREAM_POWER").expect("tests/power says where the disk may be"));
    let cuts: usize = std::env::var("MILLSTREAM_CUTS").map_or(4, |cuts| cuts.parse().unwrap());
    let mut random = Random(u64::from(std::process::id()));
    let mut words = format!("{cuts} cuts:");
    let mut load = None;
    let mut went_on = 0;
    for (number, (cut, options)) in [
        (Cut::Image, "loop"),
        (Cut::Shutdown, "loop"),
        (Cut::Image, "loop,commit=600"),
        (Cut::Shutdown, "loop,commit=600"),
    ]
    .into_iter()
    .enumerate()
    {
        let disk = Disk { image: work.join(format!("disk-{number}.img")), mount: work.join("mount"), options };
        disk.make();
        let mut app = App::idle(&[]);
        fs::create_dir(disk.mount.join("data")).unwrap();
        run("chmod", &["700".as_ref(), disk.mount.join("data").as_ref()]);
        std::os::unix::fs::symlink(disk.mount.join("data"), app.path(".millstream")).unwrap();
        let mut one = Load::over(&mut app);
        if let Some(before) = load.take() {
            one.tally = before;
        }
        let share = cuts / 4 + usize::from(number < cuts % 4);
        for _ in 0..share {
            let ms = 150 + random.below(600);
            one.during(&mut app, |app| {
                std::thread::sleep(Duration::from_millis(ms));
                match cut {
                    Cut::Image => disk.copy(app),
                    Cut::Shutdown => {
                        disk.shut_down();
                        went_on += usize::from(!stops(app));
                    }
                }
                if app.has_ended().is_none() {
                    app.signal("-KILL");
                }
            });
            app.kill();
            disk.come_back(cut);
            app.start();
            one.settle(&app);
        }
        app.terminate();
        disk.unmount();
        fs::remove_file(&disk.image).unwrap();
        let way = if cut == Cut::Image { "copies of the image" } else { "shutdowns of the file system" };
        words += &format!(" {share} {way} mounted with `{options}`{}", if number < 3 { "," } else { ".\n\n" });
        load = Some(one.tally);
    }
    let tally = load.unwrap();
    let table = words + &tally.table();
    println!("{table}");
    assert_eq!(went_on, 0, "so many times the server went on, or ended well, although nothing could be written");
    tally.must_be_whole();
    if let Ok(file) = std::env::var("MILLSTREAM_TABLE") {
        fs::write(file, table).unwrap();
    }
}

struct Disk {
    image: PathBuf,
    mount: PathBuf,
    options: &'static str,
}

impl Disk {
    fn make(&self) {
        fs::File::create(&self.image).unwrap().set_len(BYTES).unwrap();
        run("mkfs.ext4", &["-q".as_ref(), "-F".as_ref(), self.image.as_ref()]);
        self.mount();
    }

    fn mount(&self) {
        run("mount", &["-o".as_ref(), self.options.as_ref(), self.image.as_ref(), self.mount.as_ref()]);
    }

    fn unmount(&self) {
        run("umount", &[self.mount.as_ref()]);
    }

    fn cut_image(&self) -> PathBuf {
        self.image.with_extension("cut")
    }

    /// The server stands still, so that nothing it is told to sync is on its way while the device is copied.
    fn copy(&self, app: &App) {
        app.signal("-STOP");
        let begun = Instant::now();
        while !is_still(app.pid()) {
            assert!(begun.elapsed() < PATIENCE, "the server does not stand still");
            std::thread::sleep(Duration::from_millis(1));
        }
        run("cp", &["--sparse=always".as_ref(), self.image.as_ref(), self.cut_image().as_ref()]);
    }

    /// Every write fails from now on.
    fn shut_down(&self) {
        run("python3", &["-c".as_ref(), SHUTDOWN.as_ref(), self.mount.as_ref()]);
    }

    fn come_back(&self, cut: Cut) {
        self.unmount();
        if cut == Cut::Image {
            fs::rename(self.cut_image(), &self.image).unwrap();
        }
        self.mount();
    }
}

/// True if a server whose disk fails stops by itself, with an exit code that says so.
fn stops(app: &mut App) -> bool {
    let begun = Instant::now();
    while app.has_ended().is_none() && begun.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(5));
    }
    app.has_ended().is_some_and(|ended| !ended.success())
}

/// True once every thread of the process is stopped, so that none is within a call to the kernel.
fn is_still(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    threads.map(|thread| fs::read_to_string(thread.path().join("stat")).unwrap_or_default()).all(|stat| {
        let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next());
        matches!(state, Some('T') | None)
    })
}

fn run(program: &str, args: &[&Path]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}
