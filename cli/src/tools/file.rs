//! Files that are whole or not there.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// A file that takes its name when it is complete and on disk; until then, whatever had the name before keeps it.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    partial: PathBuf,
    /// Taken away at the end.
    out: Option<BufWriter<File>>,
}

impl NewFile {
    pub(crate) fn create(path: &str) -> Result<Self, Failure> {
        let path = PathBuf::from(path);
        let name = path
            .file_name()
            .ok_or_else(|| Failure::usage(format!("{} is no name for a file", path.display())))?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.partial", std::process::id()));
        let partial = path.with_file_name(hidden);
        let file = File::create(&partial).map_err(|error| {
            Failure::local(format_args!("create {}", partial.display()), &error)
        })?;
        Ok(Self {
            path,
            partial,
            out: Some(BufWriter::new(file)),
        })
    }

    /// Gives the file its name.
    pub(crate) fn commit(mut self) -> Result<(), Failure> {
        let result = self.out.take().map_or(Ok(()), |out| {
            let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fs::rename(&self.partial, &self.path)?;
            let directory = self.path.parent().filter(|path| *path != Path::new(""));
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
        });
        result
            .map_err(|error| Failure::local(format_args!("write {}", self.path.display()), &error))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.out {
            Some(out) => out.write(bytes),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.as_mut().map_or(Ok(()), BufWriter::flush)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // After a commit there is nothing left to remove.
        fs::remove_file(&self.partial).ok();
    }
}

/// Copies all of a reader into a file that has no name, so that it can be read twice.
pub(super) fn spool(input: &mut dyn io::Read) -> Result<File, Failure> {
    let path = std::env::temp_dir().join(format!("zab-input.{}", std::process::id()));
    let failed = |error: io::Error| {
        Failure::local(format_args!("keep the input in {}", path.display()), &error)
    };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&path)
        .map_err(failed)?;
    fs::remove_file(&path).map_err(failed)?;
    io::copy(input, &mut file).map_err(failed)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let directory = std::env::temp_dir().join(format!("zab-file-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("out");
        let name = path.to_str().unwrap();
        fs::write(&path, "before").unwrap();
        let mut file = NewFile::create(name).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        let mut file = NewFile::create(name).unwrap();
        file.write_all(b"whole").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "before");
        file.commit().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
        assert!(NewFile::create(name).is_err());
    }
}
