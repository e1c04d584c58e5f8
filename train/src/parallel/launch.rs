//! Whether somebody started this process as one of several.

/// How `mpirun` started this process: what it says in the environment, before MPI itself is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Processes in all.
    pub size: usize,
    /// Which one this is.
    pub rank: usize,
    /// Processes on this machine.
    pub local_size: usize,
    /// Which of them this is.
    pub local_rank: usize,
}

impl Launch {
    /// What the environment says; `None` where nobody started several processes.
    pub fn from_environment() -> Option<Launch> {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Option<Launch> {
        // Open MPI's names, then those of MPICH and what descends from it.
        let number =
            |names: [&str; 2]| names.iter().find_map(|name| variable(name)?.parse::<usize>().ok());
        let size = number(["OMPI_COMM_WORLD_SIZE", "PMI_SIZE"])?;
        let rank = number(["OMPI_COMM_WORLD_RANK", "PMI_RANK"])?;
        let local_size = number(["OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS"]);
        let local_rank = number(["OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID"]);
        Some(Launch {
            size,
            rank,
            local_size: local_size.unwrap_or(1).max(1),
            local_rank: local_rank.unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Launch;

    #[test]
    fn the_environment_of_both_families_is_understood() {
        let read = |known: &[(&str, &str)]| {
            Launch::read(|name| {
                known.iter().find(|(k, _)| *k == name).map(|(_, v)| (*v).to_owned())
            })
        };
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[("PMI_SIZE", "many"), ("PMI_RANK", "0")]), None);
        let open_mpi = [
            ("OMPI_COMM_WORLD_SIZE", "4"),
            ("OMPI_COMM_WORLD_RANK", "3"),
            ("OMPI_COMM_WORLD_LOCAL_SIZE", "2"),
            ("OMPI_COMM_WORLD_LOCAL_RANK", "1"),
        ];
        let want = Launch { size: 4, rank: 3, local_size: 2, local_rank: 1 };
        assert_eq!(read(&open_mpi), Some(want));
        let mpich = [("PMI_SIZE", "2"), ("PMI_RANK", "1")];
        let want = Launch { size: 2, rank: 1, local_size: 1, local_rank: 0 };
        assert_eq!(read(&mpich), Some(want));
    }
}
